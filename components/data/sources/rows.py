"""A table so small that it stands in the configuration."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from components.data.card import Column
from components.data.columns import Columns, SourceData
from components.errors import UserError

SPLITS = ("train", "validation", "test")


def read_rows(raw: Path, features: list[str], rows: list[list[float]]) -> SourceData:
    """Return the rows of the configuration as each of the three splits.

    A handful of rows cannot be divided: whatever is measured on them is the fit to the training data, whichever split it is asked of.
    The data's title has to say so, and the check stage wants `check.max_leak_fraction=1`.

    Args:
        raw: not read.
        features: the D names of the columns before the last.
        rows: D features and the target, each.

    Returns:
        `inputs` float32 `(D,)` and `targets` float32 `()`, the same for train, validation and test.

    Raises:
        UserError: a row has another number of values.
    """
    for number, row in enumerate(rows):
        if len(row) != len(features) + 1:
            raise UserError(f"data.prepare.rows[{number}] has {len(row)} values", received=row, expected=f"{', '.join(features)} and the target")
    table = np.array(rows, dtype=np.float32).reshape(-1, len(features) + 1)
    split: Columns = {"inputs": table[:, :-1].copy(), "targets": table[:, -1].copy()}
    columns = {"inputs": Column("float32", (len(features),)), "targets": Column("float32")}
    return SourceData(columns, dict.fromkeys(SPLITS, split))
