"""What of a prepared data set is compared: for each column a few numbers a row, found from the card alone, so that any data set will do.

Legend: N rows that were drawn, C channels, D values of a row, K categories, F features.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np

from components.data.card import Card, Column
from components.data.columns import Array, Columns, Ragged
from components.data.dataset import ShardDataset
from components.drift.spec import DriftSpec

BLOCK_ROWS = 256
_FEW = 4  # channels, or components of a ragged value, that are told apart
_MOST_CATEGORIES = 64  # the rarer ones are one
_SUMMARIES = ("mean", "deviation", "minimum", "maximum")


@dataclass
class Features:
    """Of the drawn rows of one data version.

    Args:
        numbers: name -> `(N,)` float64.
        labels: name -> `(N, K)` counts, one a row: class numbers.
        counts: name -> `(N, K)` counts, any number a row: the classes of a mask, the tokens of a sentence.
        values: name -> `(V,)`, all values of a ragged column, with `(N + 1,)` offsets: histograms are made of them with the reference's edges.
        vectors: name -> `(N, F)`, dense columns as they are.
    """

    numbers: dict[str, Array] = field(default_factory=dict)
    labels: dict[str, Array] = field(default_factory=dict)
    counts: dict[str, Array] = field(default_factory=dict)
    values: dict[str, Ragged] = field(default_factory=dict)
    vectors: dict[str, Array] = field(default_factory=dict)


def drawn_rows(dataset: ShardDataset, options: DriftSpec) -> Array:
    """Return the numbers of the rows that are compared, rising: a draw without replacement."""
    count = min(dataset.rows, options.rows)
    return np.sort(np.random.default_rng(options.seed).permutation(dataset.rows)[:count])


def read_features(dataset: ShardDataset, reference: Card, names: Collection[str], options: DriftSpec) -> Features:
    """Read the drawn rows once, block by block.

    Args:
        dataset: of either version.
        reference: whose statistics bring vectors to one scale.
        names: of the columns that both versions have alike.
        options: how many rows, how many values of a row.
    """
    rows, blocks = drawn_rows(dataset, options), []
    for start in range(0, len(rows), BLOCK_ROWS):
        columns = dataset.columns(rows[start : start + BLOCK_ROWS])
        blocks.append(_block(reference, {name: columns[name] for name in names}, options))
    return _joined(blocks)


def _block(card: Card, columns: Columns, options: DriftSpec) -> Features:
    found = Features()
    for name, values in columns.items():
        column = card.columns[name]
        if isinstance(values, Ragged):
            _ragged(found, name, column, values)
        elif column.classes is not None:
            one = _counts(np.repeat(np.arange(len(values)), values[0].size), values.ravel(), len(values), len(column.classes))
            (found.labels if values.ndim == 1 else found.counts)[name] = one
        else:
            _dense(found, name, values.astype(np.float64), card, options)
    return found


def _dense(found: Features, name: str, values: Array, card: Card, options: DriftSpec) -> None:
    """A number a row; each of a few; or what sums many up, by channel where these are few."""
    if values.ndim == 1:
        found.numbers[name] = values
        return
    rows = values.reshape(len(values), -1)
    found.vectors[name] = project(_standardized(values, card, name).reshape(len(values), -1), options.most_features, options.seed)
    if values.ndim == 2 and rows.shape[1] <= options.most_features:
        found.numbers |= {f"{name}[{i}]": rows[:, i] for i in range(rows.shape[1])}
        return
    channels = values.shape[1] if values.ndim > 2 and values.shape[1] <= _FEW else 1
    for channel, part in enumerate(rows.reshape(len(rows), channels, -1).transpose(1, 0, 2)):
        where = f"{name}[{channel}]" if channels > 1 else name
        summaries = (part.mean(axis=1), part.std(axis=1), part.min(axis=1), part.max(axis=1))
        found.numbers |= {f"{where} {summary}": value for summary, value in zip(_SUMMARIES, summaries, strict=True)}


def _standardized(values: Array, card: Card, name: str) -> Array:
    """By the statistics of the reference's card, channel by channel: one column in millions must not hide the others."""
    statistics = card.statistics[name]
    shape = (-1, *[1] * (values.ndim - 2))
    mean, std = np.array(statistics.mean).reshape(shape), np.array([s if s > 0 else 1.0 for s in statistics.std]).reshape(shape)
    scaled: Array = (values - mean) / std
    return scaled


def _ragged(found: Features, name: str, column: Column, values: Ragged) -> None:
    found.numbers[f"{name} length"] = np.diff(values.offsets).astype(np.float64)
    if column.classes is not None:
        owners = np.repeat(np.arange(len(values)), np.diff(values.offsets))
        found.counts[name] = _counts(owners, values.values.reshape(len(owners)), len(values), len(column.classes))
        return
    components = values.values.reshape(len(values.values), -1)
    for i in range(min(_FEW, components.shape[1])):
        where = f"{name}[{i}]" if components.shape[1] > 1 else name
        found.values[f"{where} values"] = Ragged(components[:, i].astype(np.float64), values.offsets)


def _counts(owners: Array, numbers: Array, rows: int, categories: int) -> Array:
    """`(rows, K + 1)`; class numbers outside the card's names are the category more."""
    classes = numbers.astype(np.int64)
    inside = np.where((classes >= 0) & (classes < categories), classes, categories)
    table: Array = np.bincount(owners * (categories + 1) + inside, minlength=rows * (categories + 1)).reshape(rows, categories + 1).astype(np.float32)
    return table


def project(rows: Array, size: int, seed: int) -> Array:
    """Return rows of at most `size` numbers, `(N, D) -> (N, F)`: as they are, or by a random projection, the same in every call.

    Gaussian, which keeps distances to about `sqrt(2 / size)` (Johnson and Lindenstrauss 1984). D numbers are drawn at a time.
    """
    if rows.shape[1] <= size:
        return rows
    generator = np.random.default_rng((seed, rows.shape[1], size))
    projected: Array = rows @ generator.standard_normal((rows.shape[1], size)) / np.sqrt(size)
    return projected


def _joined(blocks: list[Features]) -> Features:
    whole = Features()
    for kind in ("numbers", "labels", "counts", "vectors"):
        for name in getattr(blocks[0], kind):
            getattr(whole, kind)[name] = np.concatenate([getattr(block, kind)[name] for block in blocks])
    for name in blocks[0].values:
        parts = [block.values[name] for block in blocks]
        lengths = np.concatenate([np.diff(part.offsets) for part in parts])
        whole.values[name] = Ragged(np.concatenate([part.values for part in parts]), np.concatenate([[0], np.cumsum(lengths)]))
    return whole


def frequent(reference: Array, newest: Array) -> tuple[Array, Array]:
    """Cut two tables of counts to the reference's most frequent categories, the others as one: `(n, K)`, `(m, K)` -> `(n, k)`, `(m, k)`."""
    order = np.argsort(-reference.sum(axis=0), kind="stable")
    kept, rest = order[:_MOST_CATEGORIES], order[_MOST_CATEGORIES:]
    first, second = (np.column_stack([table[:, kept], table[:, rest].sum(axis=1)]) for table in (reference, newest))
    used = (first.sum(axis=0) + second.sum(axis=0)) > 0
    return first[:, used].astype(np.float64), second[:, used].astype(np.float64)


def binned(values: Ragged, edges: Array) -> Array:
    """Return how many values of each row lie between edges, `(N, edges + 2)`, what is no number last."""
    places = np.where(np.isnan(values.values), len(edges) + 1, np.searchsorted(edges, values.values, side="right"))
    owners = np.repeat(np.arange(len(values)), np.diff(values.offsets))
    size = len(edges) + 2
    return np.bincount(owners * size + places, minlength=len(values) * size).reshape(len(values), size).astype(np.float64)
