"""Data versions made of arrays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from components.data.card import Column
from components.data.columns import Array, Ragged, SourceData
from components.data.prepare import write_data_set
from tests.synthetic import synthetic_definition


def write_version(directory: Path, columns: Mapping[str, Array | Ragged], classes: Mapping[str, tuple[str, ...]] | None = None) -> Path:
    """Write columns as the training split of a prepared data set and return its directory; `classes` names those that hold class numbers."""
    described, named = {}, dict(classes or {})
    for name, column in columns.items():
        values = column.values if isinstance(column, Ragged) else column
        described[name] = Column(values.dtype.name, values.shape[1:], isinstance(column, Ragged), named.get(name))
    classes_count = len(next(iter(named.values()), "abc"))
    write_data_set(synthetic_definition("version", classes_count), SourceData(described, {"train": columns}), {}, directory)
    return directory


def ragged(rows: list[Array]) -> Ragged:
    """Put arrays end to end."""
    return Ragged(np.concatenate(rows), np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64))
