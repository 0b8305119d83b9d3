"""The 8x8 handwritten digits that scikit-learn ships (Alpaydin and Kaynak, UCI Optical Recognition of Handwritten Digits, 1998)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from components.data.card import Column
from components.data.columns import SourceData
from components.data.splits import stratified_split
from components.errors import UserError

_SIDE_PIXELS = 8
_LEVELS = 17  # a pixel counts the dark points of a 4x4 field: 0..16


def read_digits(raw: Path, classes: list[str], test_fraction: float, validation_fraction: float, seed: int) -> SourceData:
    """Read digits.csv: 64 pixels and a label a line, no header; the set has no official split, so both are drawn, stratified.

    Args:
        raw: holds digits.csv.
        classes: the names of labels 0, 1, ...
        test_fraction: of all rows (0.2 of 1,797 gives 359, a prime: no number of workers divides it).
        validation_fraction: of all rows.
        seed: of the choice.

    Returns:
        `inputs` uint8 `(1, 8, 8)` in 0..16 and `targets` int64 `()` for train, validation and test.

    Raises:
        UserError: the file is no table of 65 whole numbers a line, or a pixel is out of range.
    """
    path = raw / "digits.csv"
    try:
        table = np.loadtxt(path, delimiter=",", dtype=np.int64, ndmin=2)
    except ValueError as error:
        raise UserError(f"{path.name} is no table of numbers: {error}", received=path) from error
    pixels, labels = table[:, :-1], table[:, -1]
    if pixels.shape[1] != _SIDE_PIXELS**2 or pixels.min() < 0 or pixels.max() >= _LEVELS:
        raise UserError(
            f"{path.name} does not hold 8x8 digits",
            received=f"{pixels.shape[1]} pixels a line, values {pixels.min()} to {pixels.max()}",
            expected=f"{_SIDE_PIXELS**2} pixels a line, values 0 to {_LEVELS - 1}",
        )
    images = pixels.astype(np.uint8).reshape(-1, 1, _SIDE_PIXELS, _SIDE_PIXELS)
    sizes = {"validation": round(validation_fraction * len(labels)), "test": round(test_fraction * len(labels))}
    rows = stratified_split(labels, sizes, "train", seed)
    columns = {"inputs": Column("uint8", images.shape[1:]), "targets": Column("int64", classes=tuple(classes))}
    return SourceData(columns, {name: {"inputs": images[r], "targets": labels[r]} for name, r in rows.items()})
