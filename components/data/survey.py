"""One pass over a split: everything that the checks want to know of its content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from components.data.card import Column, Statistics
from components.data.columns import Array, Ragged
from components.data.dataset import ShardDataset
from components.data.prepare import BLOCK_ROWS, is_numeric
from components.data.statistics import column_statistics


@dataclass
class Survey:
    """What one pass over a split found.

    Args:
        rows: of the split.
        statistics: of each dense numeric column.
        class_counts: of each column of classes, `(K,)` int64; labels outside 0..K-1 are left out.
        label_ranges: of each column of classes, the lowest and the highest label.
        hashes: of each row's content, labels left out.
        constant: images with one value in all pixels.
        not_finite: values that are NaN or infinite.
    """

    rows: int
    statistics: dict[str, Statistics] = field(default_factory=dict)
    class_counts: dict[str, Array] = field(default_factory=dict)
    label_ranges: dict[str, tuple[int, int]] = field(default_factory=dict)
    hashes: list[bytes] = field(default_factory=list)
    constant: int = 0
    not_finite: int = 0


def survey_split(dataset: ShardDataset) -> Survey:
    """Read a split once, block by block (and its numeric columns once more)."""
    described, survey = dataset.card.columns, Survey(dataset.rows)
    for name, column in described.items():
        if column.classes is not None:
            survey.class_counts[name] = np.zeros(len(column.classes), dtype=np.int64)
    for block in dataset.blocks(BLOCK_ROWS):
        for name, found in block.items():
            values = found.values if isinstance(found, Ragged) else found
            survey.not_finite += int(values.size - np.isfinite(values).sum())
            if described[name].classes is not None:
                _count_labels(survey, name, values)
            if _is_image(described[name]):
                flat = values.reshape(len(values), -1)
                survey.constant += int((flat.min(axis=1) == flat.max(axis=1)).sum())
        survey.hashes += _row_hashes(_content(described, block))
    for name in described:
        if dataset.rows and is_numeric(described[name]):
            survey.statistics[name] = column_statistics(_column_blocks(dataset, name))
    return survey


def row_hashes(dataset: ShardDataset) -> list[bytes]:
    """Return a hash of each row's content, labels left out, in row order: equal rows of two data sets have the same."""
    return [found for block in dataset.blocks(BLOCK_ROWS) for found in _row_hashes(_content(dataset.card.columns, block))]


def _column_blocks(dataset: ShardDataset, name: str) -> Iterator[Array]:
    for block in dataset.blocks(BLOCK_ROWS):
        column = block[name]
        assert not isinstance(column, Ragged)
        yield column


def _is_image(column: Column) -> bool:
    return not column.ragged and column.classes is None and len(column.shape) == 3


def _count_labels(survey: Survey, name: str, labels: Array) -> None:
    if labels.size == 0:
        return
    counts = survey.class_counts[name]
    counts += np.bincount(labels[(labels >= 0) & (labels < len(counts))].ravel().astype(np.int64), minlength=len(counts))
    low, high = survey.label_ranges.get(name, (int(labels.min()), int(labels.max())))
    survey.label_ranges[name] = (min(low, int(labels.min())), max(high, int(labels.max())))


def _content(described: Mapping[str, Column], block: dict[str, Array | Ragged]) -> dict[str, Array | Ragged]:
    """Return the columns that make a row the same row again: `inputs`, or all that hold no classes where there is no such column."""
    if "inputs" in block:
        return {"inputs": block["inputs"]}
    return {name: found for name, found in block.items() if described[name].classes is None}


def _row_hashes(columns: Mapping[str, Array | Ragged]) -> list[bytes]:
    """Return a 16-byte hash of each row of the columns."""
    if not columns:
        return []
    rows = len(next(iter(columns.values())))
    hashers = [hashlib.blake2b(digest_size=16) for _ in range(rows)]
    for column in columns.values():
        for i, hasher in enumerate(hashers):
            row = column.values[column.offsets[i] : column.offsets[i + 1]] if isinstance(column, Ragged) else column[i]
            hasher.update(np.ascontiguousarray(row).tobytes())
    return [hasher.digest() for hasher in hashers]
