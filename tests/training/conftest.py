"""A tiny prepared data set, a specification for it, and the worker group."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.data.card import Column
from components.data.columns import SourceData
from components.data.prepare import write_data_set
from components.spec.parse import to_plain
from components.spec.schema import Spec
from flows.compose import compose
from tests.synthetic import synthetic_definition
from tests.training.group import Group

ROOT = Path(__file__).parents[2]
ROWS = {"train": 41, "validation": 30, "test": 23}  # 41 = 5 batches of 8 and a row: other ranks get a stand-in; 23 is prime


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    """Images `(N, 1, 8, 8)` uint8 of three classes that differ in which third is bright, with noise."""
    return write_stripes(tmp_path_factory.mktemp("data") / "stripes", ROWS, seed=11)


@pytest.fixture(scope="session")
def other_data(tmp_path_factory) -> Path:
    """The same kind of images, others, and fewer."""
    return write_stripes(tmp_path_factory.mktemp("data") / "others", {**ROWS, "train": 36}, seed=12)


def write_stripes(directory: Path, sizes: dict[str, int], seed: int) -> Path:
    rng = np.random.default_rng(seed)
    splits = {}
    for name, rows in sizes.items():
        targets = rng.integers(0, 3, rows)
        inputs = rng.integers(0, 120, (rows, 1, 8, 8))
        for row, target in enumerate(targets):
            inputs[row, 0, 2 * target : 2 * target + 3] += 100
        splits[name] = {"inputs": inputs.astype(np.uint8), "targets": targets}
    columns = {"inputs": Column("uint8", (1, 8, 8)), "targets": Column("int64", classes=("top", "middle", "bottom"))}
    write_data_set(synthetic_definition("stripes"), SourceData(columns, splits), {}, directory)
    return directory


@pytest.fixture(scope="session")
def plain() -> Callable[..., dict[str, Any]]:
    """A plain specification: 8 rows a batch, 8 x 8 images that shift at random, SGD, every step journalled; overrides come last."""
    common = [
        "debug=inline",
        "model.num_classes=3",
        "optimizer=sgd",
        "optimizer.lr=0.05",
        "trainer.batch_size=8",
        "trainer.duration=4ep",
        "trainer.log_every_steps=1",
        "trainer.monitor.metric=validation/loss",
        "evaluate.batch_size=7",
    ]

    @functools.cache
    def composed(*overrides: str) -> Spec:
        return compose(ROOT, [*common, *overrides])

    def make(*overrides: str) -> dict[str, Any]:
        spec = to_plain(composed(*overrides))
        spec["augment"]["always"] = spec["augment"]["always"][:1]  # no resizing
        return spec

    return make


@pytest.fixture(scope="session")
def group(tmp_path_factory) -> Iterator[Group]:
    """Three processes, of which a test takes the first one, two or three."""
    workers = Group(3, tmp_path_factory.mktemp("group"))
    yield workers
    workers.close()
