"""Columns in memory: what a reader returns and a shard holds.

Legend: N rows of a split, V values of a ragged column (all rows end to end).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from components.data.card import Column
from components.errors import UserError

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Ragged:
    """A column whose rows differ in length: row i is `values[offsets[i]:offsets[i + 1]]`.

    Args:
        values: `(V, ...)`.
        offsets: `(N + 1,)` int64, starts at 0, never falls, ends at V.
    """

    values: Array
    offsets: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        offsets = self.offsets
        if offsets.ndim != 1 or len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != len(self.values) or (np.diff(offsets) < 0).any():
            raise ValueError("offsets must be one-dimensional, start at 0, never fall and end at the number of values")

    def __len__(self) -> int:
        return len(self.offsets) - 1


Columns = Mapping[str, Array | Ragged]


@dataclass(frozen=True)
class SourceData:
    """What a reader returns: the description of each column and, for each split, the columns themselves."""

    columns: Mapping[str, Column]
    splits: Mapping[str, Columns]


def require_columns(described: Mapping[str, Column], columns: Columns, split: str) -> int:
    """Return the number of rows of a split after comparing its columns with their description.

    Raises:
        UserError: a column is missing, unknown, of another kind, dtype, row shape or length than described.
    """
    if set(described) != set(columns):
        raise UserError(f"split '{split}' has other columns than described", received=sorted(columns), expected=sorted(described))
    for name, column in columns.items():
        values = column.values if isinstance(column, Ragged) else column
        received = (isinstance(column, Ragged), values.dtype.name, values.shape[1:])
        expected = (described[name].ragged, described[name].dtype, described[name].shape)
        if received != expected:
            raise UserError(
                f"column '{name}' of split '{split}' is not as described",
                received="(ragged, dtype, shape) = " + str(received),
                expected=str(expected),
            )
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) != 1:
        raise UserError(f"the columns of split '{split}' differ in length", received=lengths, expected="one number of rows")
    return next(iter(lengths.values()))
