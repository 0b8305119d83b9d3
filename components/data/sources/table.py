"""Tables of numbers: a CSV file with a header, brought by its user. Legend: N rows, D features."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from components.data.card import Column
from components.data.columns import SourceData
from components.data.permutation import permutation
from components.data.splits import stratified_split
from components.errors import UserError, nearest

Numbers = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
_SHOWN = 12  # column names in a message
# Apart from what the user may have made the table with: numpy's default_rng(0) gives the very words that order rows by seed 0, so that a
# column drawn with it would come out sorted over the splits.
_OWN_STREAM = 0x7AB1E << 64


def read_table(
    raw: Path,
    file: str,
    target: str,
    kind: Literal["regression", "classification"],
    validation_fraction: float,
    test_fraction: float,
    seed: int,
    features: list[str] | None = None,
    delimiter: str = ",",
    fold: int | None = None,
    folds: int | None = None,
) -> SourceData:
    """Read a CSV file: one header line, one row a line; train, validation and test are drawn from it, stratified where it has classes.

    With `fold` and `folds` the test rows are one of as many parts, and each row is in the test of one fold.

    Args:
        raw: holds the file.
        file: its name.
        target: the column that is to be predicted.
        kind: regression has a number there, classification any text; its classes are the texts that occur, in order.
        validation_fraction: of all rows; of those outside the fold where there are folds.
        test_fraction: of all rows; with folds the test is 1 / folds of them instead.
        seed: of the choice.
        features: the columns that predict, in this order; None: all others.
        delimiter: between two cells.
        fold: 0 to folds - 1: which part is the test's. None, as `folds`: no folds.
        folds: how many parts there are.

    Returns:
        `inputs` float32 `(D,)` and `targets`, float32 `()` or int64 `()` with classes.

    Raises:
        UserError: no such file or column, a column twice, a line with more or fewer cells than the header, a cell that is no finite number
            (its line and column are told), no row, fractions that leave nothing to train on, or no such fold.
    """
    if kind not in ("regression", "classification"):
        raise UserError("data.prepare.kind has no such value", received=kind, expected="regression or classification")
    header, lines, cells = _read(raw / file, delimiter)
    columns = [_index(header, name, file) for name in features or [name for name in header if name != target]]
    goal = _index(header, target, file)
    if goal in columns:
        raise UserError(f"'{target}' is to be predicted, so it cannot predict", received=f"features: {features}", mend="leave it out of features")
    inputs = np.stack([_numbers(cells, lines, i, header[i], file) for i in columns], axis=1)
    described = {"inputs": Column("float32", inputs.shape[1:])}
    targets: Numbers | Integers
    if kind == "regression":
        targets, strata = _numbers(cells, lines, goal, target, file), np.zeros(len(cells), dtype=np.int64)
        described["targets"] = Column("float32")
    else:
        names = _class_names([row[goal] for row in cells])
        targets = strata = np.array([names.index(row[goal]) for row in cells], dtype=np.int64)
        described["targets"] = Column("int64", classes=tuple(names))
    if fold is None and folds is None:
        return split_rows(described, inputs, targets, strata, validation_fraction, test_fraction, seed)
    rows = fold_rows(strata, fold, folds, validation_fraction, seed)
    return SourceData(described, {name: {"inputs": inputs[r], "targets": targets[r]} for name, r in rows.items()})


def split_rows(
    columns: dict[str, Column],
    inputs: Numbers,
    targets: Numbers | Integers,
    strata: Integers,
    validation_fraction: float,
    test_fraction: float,
    seed: int,
) -> SourceData:
    """Deal the rows of a table to the three splits: inputs `(N, D)`, targets `(N,)`, strata `(N,)` (each in the same proportion everywhere).

    Raises:
        UserError: the fractions leave nothing to train on.
    """
    sizes = {"validation": round(validation_fraction * len(targets)), "test": round(test_fraction * len(targets))}
    rows = stratified_split(strata, sizes, "train", seed + _OWN_STREAM)
    return SourceData(columns, {name: {"inputs": inputs[r], "targets": targets[r]} for name, r in rows.items()})


def fold_rows(strata: Integers, fold: int | None, folds: int | None, validation_fraction: float, seed: int) -> dict[str, Integers]:
    """Return the rows of each split, rising: one fold is the test, of the others a part validates.

    Rows are dealt to the folds in turn, stratum after stratum and at random within each: as scikit-learn's StratifiedKFold, every stratum and
    the whole have as many rows in each fold, to within one.

    Args:
        strata: `(N,)`, the class of each row.
        fold, folds, validation_fraction, seed: as in `read_table`.

    Raises:
        UserError: one of `fold` and `folds` is missing, there is no such fold, or validation leaves nothing to train on.
    """
    if fold is None or folds is None or not 2 <= folds <= len(strata) or not 0 <= fold < folds:
        expected = f"folds from 2 to the {len(strata)} rows, and fold from 0 to folds - 1"
        raise UserError("data.prepare names no fold of the table", received=f"fold={fold}, folds={folds}", expected=expected)
    shuffled = permutation(len(strata), seed + _OWN_STREAM, folds)
    dealt = shuffled[np.argsort(strata[shuffled], kind="stable")]
    test, others = np.sort(dealt[fold::folds]), np.sort(np.concatenate([dealt[i::folds] for i in range(folds) if i != fold]))
    parts = stratified_split(strata[others], {"validation": round(validation_fraction * len(others))}, "train", seed + _OWN_STREAM)
    return {**{name: others[found] for name, found in parts.items()}, "test": test}


def _read(path: Path, delimiter: str) -> tuple[list[str], list[int], list[list[str]]]:
    """Return the header, and of each row its line in the file (from 1) and its cells."""
    if not path.is_file():
        known = sorted(p.name for p in path.parent.glob("*"))
        raise UserError(f"the table {path.name} is not there{nearest(path.name, known)}", received=path, expected=f"one of: {', '.join(known)}")
    with open(path, encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream, delimiter=delimiter, skipinitialspace=True)
        found = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(cell.strip() for cell in row)]
    if len(found) < 2:
        raise UserError(f"{path.name} holds no table", received=f"{len(found)} lines", expected="a header and at least one row")
    header = found[0][1]
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise UserError(f"{path.name} has two columns of one name", received=", ".join(twice), expected="a name of its own for each column")
    for line, row in found[1:]:
        if len(row) != len(header):
            raise UserError(
                f"{path.name}, line {line}: {len(row)} cells",
                received=delimiter.join(row)[:80],
                expected=f"{len(header)} cells, as in the header",
                mend="quote cells that contain the delimiter, or set data.prepare.delimiter",
            )
    return header, [line for line, _ in found[1:]], [row for _, row in found[1:]]


def _index(header: Sequence[str], name: str, file: str) -> int:
    if name not in header:
        shown = ", ".join(header[:_SHOWN]) + (f" and {len(header) - _SHOWN} more" if len(header) > _SHOWN else "")
        raise UserError(f"{file} has no column '{name}'{nearest(name, header)}", received=name, expected=f"one of: {shown}")
    return header.index(name)


def _numbers(cells: Sequence[Sequence[str]], lines: Sequence[int], column: int, name: str, file: str) -> Numbers:
    values = np.empty(len(cells), dtype=np.float32)
    for i, row in enumerate(cells):
        try:
            values[i] = float(row[column])
        except ValueError:
            values[i] = np.nan
        if not np.isfinite(values[i]):
            raise UserError(
                f"{file}, line {lines[i]}: column '{name}' holds no finite number",
                received=repr(row[column]),
                expected="a number such as 12.5",
                mend="leave the column out of data.prepare.features, or mend the cell: missing values have no default here",
            )
    return values


def _class_names(labels: Sequence[str]) -> list[str]:
    """Return the labels that occur, numbers by value and other texts by letters."""
    names = set(labels)
    if all(name.lstrip("-").isdigit() for name in names):
        return sorted(names, key=int)
    return sorted(names)
