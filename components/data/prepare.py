"""Raw files to a prepared data set: a reader's columns, cut into shards, with their card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from components.data.card import Card, Column, Statistics, write_card
from components.data.columns import Array, Ragged, SourceData
from components.data.publish import atomic_directory
from components.data.shards import ShardWriter
from components.data.statistics import column_statistics
from components.errors import UserError
from components.files import sha256_file
from components.spec.schema import DataSpec
from components.spec.targets import build

BLOCK_ROWS = 4096  # of the statistics: bounds their memory


def prepare(definition: DataSpec, raw: Path, output: Path) -> Card:
    """Read raw files, write shards and card into a temporary directory, and publish it as `output`.

    Raises:
        UserError: the reader refuses the files or its options, or what it returns is no consistent data set.
    """
    data = read_source(definition, raw)
    source = {path.relative_to(raw).as_posix(): sha256_file(path) for path in sorted(raw.rglob("*")) if path.is_file()}
    return write_data_set(definition, data, source, output)


def read_source(definition: DataSpec, raw: Path) -> SourceData:
    """Call the reader that the definition names.

    Raises:
        UserError: there is no such reader, it takes other options, or it refuses the files.
    """
    data: SourceData = build(definition.prepare, raw=raw)
    return data


def write_data_set(definition: DataSpec, data: SourceData, source: dict[str, str], output: Path) -> Card:
    """Write a reader's columns as a prepared data set; card.json comes last.

    Args:
        definition: says who the data set is and how large a shard may be.
        data: the columns.
        source: raw file -> sha256, for the card.
        output: the prepared directory.

    Raises:
        UserError: no training rows, columns that do not fit their description, or another number of classes than defined.
    """
    _require_training_rows(data)
    _require_classes(definition, data.columns)
    with atomic_directory(output) as folder:
        writer = ShardWriter(folder, data.columns, definition.shard_mib)
        splits = {name: writer.write(name, columns) for name, columns in data.splits.items()}
        card = Card(
            name=definition.name,
            title=definition.title,
            licence=definition.licence,
            homepage=definition.homepage,
            source=source,
            columns=dict(data.columns),
            splits=splits,
            statistics=_statistics(data),
        )
        write_card(folder, card)
    return card


def _statistics(data: SourceData) -> dict[str, Statistics]:
    statistics = {}
    for name, column in data.splits["train"].items():
        if isinstance(column, Ragged) or not is_numeric(data.columns[name]):
            continue
        found = statistics[name] = column_statistics(_blocks(column))
        if not np.isfinite([*found.mean, *found.std, found.minimum, found.maximum]).all():
            raise UserError(f"column '{name}' of the training split holds values that are not finite", received=found)
    return statistics


def is_numeric(column: Column) -> bool:
    """Tell whether a column has statistics: dense, and quantities rather than class numbers."""
    return not column.ragged and column.classes is None


def _blocks(column: Array) -> Iterator[Array]:
    for start in range(0, len(column), BLOCK_ROWS):
        yield column[start : start + BLOCK_ROWS]


def _require_training_rows(data: SourceData) -> None:
    rows = {name: len(next(iter(columns.values()), ())) for name, columns in data.splits.items()}
    if not rows.get("train"):
        raise UserError("the data set has no training rows", received=rows, expected="a split 'train' with rows")


def _require_classes(definition: DataSpec, columns: Mapping[str, Column]) -> None:
    for name, column in columns.items():
        if column.classes is not None and definition.num_classes not in (None, len(column.classes)):
            raise UserError(
                f"column '{name}' has another number of classes than num_classes",
                received=f"{len(column.classes)} class names",
                expected=f"num_classes={definition.num_classes}",
            )
