"""The diabetes data that scikit-learn ships (Efron, Hastie, Johnstone and Tibshirani 2004, "Least angle regression")."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from components.data.card import Column
from components.data.columns import SourceData
from components.data.sources.table import split_rows
from components.errors import UserError


def read_diabetes(raw: Path, features: list[str], validation_fraction: float, test_fraction: float, seed: int) -> SourceData:
    """Read the measurements in their own units (the paper's, not scikit-learn's scaled copy) and the progression after a year.

    Args:
        raw: holds diabetes_data_raw.csv (10 numbers a line, between blanks) and diabetes_target.csv (one number a line).
        features: the names of the 10 numbers.
        validation_fraction: of all 442 rows.
        test_fraction: of all rows.
        seed: of the choice; the set has no official split.

    Returns:
        `inputs` float32 `(10,)` and `targets` float32 `()`, 25 to 346.

    Raises:
        UserError: the files are no tables of numbers, or do not fit each other or the names.
    """
    try:
        inputs = np.loadtxt(raw / "diabetes_data_raw.csv", dtype=np.float32, ndmin=2)
        targets = np.loadtxt(raw / "diabetes_target.csv", dtype=np.float32, ndmin=1)
    except ValueError as error:
        raise UserError(f"the diabetes data are no tables of numbers: {error}", received=raw) from error
    if inputs.shape != (len(targets), len(features)):
        raise UserError(
            "the diabetes data do not fit", received=f"inputs {inputs.shape}, {len(targets)} targets", expected=f"{len(features)} numbers a row"
        )
    columns = {"inputs": Column("float32", inputs.shape[1:]), "targets": Column("float32")}
    return split_rows(columns, inputs, targets, np.zeros(len(targets), dtype=np.int64), validation_fraction, test_fraction, seed)
