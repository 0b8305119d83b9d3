"""Data sets and evaluations made by hand, for the gate to judge."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from components.data.card import Column
from components.data.columns import SourceData
from components.data.prepare import write_data_set
from components.files import write_json
from components.gate.contender import Contender
from components.training.scores import SCORES, write_scores
from tests.synthetic import synthetic_definition

CAMERAS = ("north", "south")


def make_data(directory: Path, test: np.ndarray, train: np.ndarray, cameras: np.ndarray) -> Path:
    """A data set whose rows are numbers `(N,)`, of two cameras."""

    def split(values: np.ndarray, seen_by: np.ndarray) -> dict[str, np.ndarray]:
        return {"inputs": values.astype(np.float32)[:, None], "camera": seen_by.astype(np.int64)}

    splits = {"train": split(train, train % 2), "validation": split(-train - 1, train % 2), "test": split(test, cameras)}
    columns = {"inputs": Column("float32", (1,)), "camera": Column("int64", classes=CAMERAS)}
    write_data_set(synthetic_definition("made", num_classes=2), SourceData(columns, splits), {}, directory)
    return directory


def contender(
    directory: Path, data: Path | None, accuracy: np.ndarray | None = None, loss: np.ndarray | None = None, metrics: dict[str, float] | None = None
) -> Contender:
    """An evaluation of the test split with these scores of its rows `(N,)`."""
    rows = len(accuracy if accuracy is not None else loss)
    columns = {"sample_id": np.arange(rows), "loss": np.zeros(rows) if loss is None else loss}
    directory.mkdir(parents=True)
    write_scores(directory / SCORES, {"test": columns | ({} if accuracy is None else {"accuracy": accuracy.astype(float)})})
    write_json(directory / "metrics.json", {"test": metrics or {}})
    return Contender(directory, data, size_bytes=2 << 20)
