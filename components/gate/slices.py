"""Slices of a split: the rows of each class, of every column of classes that has one label a row (a label, a camera, a hospital)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from components.data.card import Column
from components.data.dataset import ShardDataset
from components.data.prepare import BLOCK_ROWS

Rows = npt.NDArray[np.int64]


def slices_of(dataset: ShardDataset) -> dict[str, Rows]:
    """Return `{"column=class": row numbers}` of a split, classes without rows left out."""
    columns = {name: column for name, column in dataset.card.columns.items() if is_slicing(column)}
    labels: dict[str, list[Rows]] = {name: [] for name in columns}
    for block in dataset.blocks(BLOCK_ROWS) if columns else ():
        for name in columns:
            labels[name].append(np.asarray(block[name]))
    found: dict[str, Rows] = {}
    for name, column in columns.items():
        whole = np.concatenate(labels[name]) if labels[name] else np.empty(0, np.int64)
        for number, label in enumerate(column.classes or ()):
            rows = np.flatnonzero(whole == number)
            if len(rows):
                found[f"{name}={label}"] = rows
    return found


def is_slicing(column: Column) -> bool:
    """Tell whether the rows of a column have one class each."""
    return column.classes is not None and not column.ragged and column.shape == ()
