"""A small synthetic image set that passes every check, and where the offline mirror is."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.data.card import Card, Column
from components.data.columns import SourceData
from components.data.prepare import write_data_set
from components.spec.schema import DataSpec
from tests.synthetic import synthetic_definition

CLASSES = ("cat", "dog", "owl")


@pytest.fixture
def mirror() -> Path:
    """The folder of real archives; tests that need it are skipped where it is not."""
    folder = Path(os.environ.get("MODELYARD_DATA_MIRROR") or Path(__file__).parents[3] / "shared" / "datasets")
    if not folder.is_dir():
        pytest.skip(f"no data mirror at {folder}")
    return folder


@pytest.fixture
def definition() -> DataSpec:
    """Of the synthetic set; its reader exists but is not called."""
    return synthetic_definition("pets")


@pytest.fixture
def splits() -> dict[str, dict[str, Any]]:
    """Random images `(N, 1, 4, 5)` uint8 and balanced labels: 60 training, 30 validation, 30 test rows."""
    rng = np.random.default_rng(7)
    rows = {"train": 60, "validation": 30, "test": 30}
    return {s: {"inputs": rng.integers(0, 256, (n, 1, 4, 5), dtype=np.uint8), "targets": np.arange(n) % 3} for s, n in rows.items()}


@pytest.fixture
def write(definition: DataSpec, tmp_path: Path) -> Callable[..., tuple[Path, Card]]:
    """Write splits as a prepared data set, with the description taken from the training arrays."""

    def write_splits(splits: dict[str, dict[str, Any]], name: str = "pets") -> tuple[Path, Card]:
        train = splits["train"]
        columns = {
            "inputs": Column(train["inputs"].dtype.name, train["inputs"].shape[1:]),
            "targets": Column("int64", classes=CLASSES),
        }
        return tmp_path / name, write_data_set(definition, SourceData(columns, splits), {"pets.bin": "0" * 64}, tmp_path / name)

    return write_splits
