"""Has the data moved? Two versions of a prepared data set, compared feature by feature."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from components.data.card import Card, load_card
from components.data.dataset import ShardDataset
from components.drift.features import BLOCK_ROWS, Features, binned, drawn_rows, frequent, read_features
from components.drift.measures import Array, counts_psi, histogram, holm, ks, mmd, psi, psi_p_value, quantile_edges
from components.drift.spec import DriftSpec

SMALL_PSI = 0.1  # told, not acted on
Embed = Callable[[dict[str, Tensor]], Tensor]


@dataclass
class _Test:
    """One comparison. Its p-value is adjusted among those that share half of the level: permutations cannot give very small ones."""

    name: str
    measure: str
    value: float
    threshold: float
    p_value: float | None = None  # None: a fact, such as a column that is gone
    permuted: bool = False


def drift(reference: Path, newest: Path, options: DriftSpec, embed: Embed | None = None) -> dict[str, Any]:
    """Compare two versions of a data set.

    Args:
        reference: prepared directory, what a model was trained on.
        newest: prepared directory.
        options: which rows, which thresholds.
        embed: a model's view, raw columns as `ShardDataset.fetch` gives them -> features `(B, F)`; None: the columns alone.

    Returns:
        `reference`, `newest` (data versions); `features` [{name, measure, value, threshold, p_value, adjusted_p_value, drifted}]; `drifted`;
        `score`, the largest value over threshold among those that chance does not explain, so 1 and above where something drifted;
        `small`, what has a PSI of 0.1 and above without having drifted; `rows` that were compared; `level`.
        Of the same data version nothing but the cards is read.

    Raises:
        UserError: one is no data set, or lacks the split.
    """
    cards = [load_card(reference), load_card(newest)]
    versions = {"reference": cards[0].content_sha256, "newest": cards[1].content_sha256}
    if cards[0].content_sha256 == cards[1].content_sha256:
        return {**versions, "features": [], "drifted": False, "score": 0.0, "small": [], "rows": {}, "level": options.level}
    datasets = [ShardDataset(directory, options.split) for directory in (reference, newest)]
    alike = [name for name, column in cards[0].columns.items() if cards[1].columns.get(name) == column]
    first, second = (read_features(dataset, cards[0], alike, options) for dataset in datasets)
    if embed is not None:
        first.vectors["embedding"], second.vectors["embedding"] = (_embedded(dataset, embed, options) for dataset in datasets)
    tests = [*_schema(*cards), *_numbers(first, second, options), *_labels(first, second, options), *_permuted(first, second, options)]
    rows = {name: len(drawn_rows(dataset, options)) for name, dataset in zip(versions, datasets, strict=True)}
    return {**versions, **_judged(tests, options), "rows": rows, "level": options.level}


def _schema(reference: Card, newest: Card) -> list[_Test]:
    """Columns that are gone, new or other than they were: no statistics are needed for that."""
    names = {*reference.columns, *newest.columns}
    return [_Test(name, "schema", 1.0, 1.0) for name in sorted(names) if reference.columns.get(name) != newest.columns.get(name)]


def _numbers(first: Features, second: Features, options: DriftSpec) -> list[_Test]:
    """PSI over the reference's quantiles, and Kolmogorov-Smirnov, of each number a row."""
    tests = []
    for name, values in first.numbers.items():
        edges = quantile_edges(values[~np.isnan(values)], options.bins)
        counts = _used(histogram(values, edges), histogram(second.numbers[name], edges))
        tests.append(_psi(name, *counts, options))
        distance, p_value = ks(values, second.numbers[name])
        tests.append(_Test(name, "ks", distance, options.ks, p_value))
    return tests


def _labels(first: Features, second: Features, options: DriftSpec) -> list[_Test]:
    """PSI over the classes of a column that has one a row."""
    tests = []
    for name, table in first.labels.items():
        before, now = frequent(table, second.labels[name])
        tests.append(_psi(f"{name} classes", before.sum(axis=0), now.sum(axis=0), options))
    return tests


def _psi(name: str, before: Array, now: Array, options: DriftSpec) -> _Test:
    value = psi(before, now)
    return _Test(name, "psi", value, options.psi, psi_p_value(value, int(before.sum()), int(now.sum()), len(before)))


def _used(before: Array, now: Array) -> tuple[Array, Array]:
    """Leave out bins that are empty in both."""
    used = (before + now) > 0
    return before[used], now[used]


def _permuted(first: Features, second: Features, options: DriftSpec) -> list[_Test]:
    """What has no closed distribution: many counts a row, and whole rows at once."""
    counts: dict[str, tuple[Array, Array]] = {}
    for name, table in first.counts.items():
        counts[f"{name} classes"] = frequent(table, second.counts[name])
    for name, ragged in first.values.items():
        if len(ragged.values) and len(second.values[name].values):  # else its length tells
            edges = quantile_edges(ragged.values[~np.isnan(ragged.values)], options.bins)
            counts[name] = frequent(binned(ragged, edges), binned(second.values[name], edges))
    # Holm multiplies the smallest of K p-values by K: there must be so many permutations that it can still be half of what is asked for.
    permutations = math.ceil(2 * (len(counts) + len(first.vectors)) / (options.level / 2))
    tests = [_Test(n, "psi", *_found(counts_psi(*tables, permutations, options.seed), options.psi), permuted=True) for n, tables in counts.items()]
    generator = np.random.default_rng(options.seed)
    for name, vectors in first.vectors.items():
        before, now = (rows[generator.permutation(len(rows))[: options.mmd_rows]] for rows in (vectors, second.vectors[name]))
        tests.append(_Test(f"{name} rows", "mmd", *_found(mmd(before, now, permutations, options.seed), options.mmd), permuted=True))
    return tests


def _found(value_and_p: tuple[float, float], threshold: float) -> tuple[float, float, float]:
    return value_and_p[0], threshold, value_and_p[1]


def _embedded(dataset: ShardDataset, embed: Embed, options: DriftSpec) -> Array:
    """A model's features of the drawn rows, (N, F)."""
    rows = drawn_rows(dataset, options)
    with torch.no_grad():
        parts = [embed(dataset.fetch(rows[start : start + BLOCK_ROWS])) for start in range(0, len(rows), BLOCK_ROWS)]
    return np.concatenate([part.flatten(1).double().cpu().numpy() for part in parts])


def _judged(tests: list[_Test], options: DriftSpec) -> dict[str, Any]:
    """Adjust p-values within each half of the level and say which tests found a drift."""
    adjusted: dict[int, float] = {}
    for permuted in (False, True):
        family = [i for i, test in enumerate(tests) if test.p_value is not None and test.permuted == permuted]
        adjusted |= dict(zip(family, holm([float(tests[i].p_value or 0.0) for i in family]), strict=True))
    features, score = [], 0.0
    for i, test in enumerate(tests):
        unlikely = i not in adjusted or adjusted[i] <= options.level / 2
        drifted = unlikely and test.value >= test.threshold
        score = max(score, test.value / test.threshold if unlikely else 0.0)
        plain = {name: value for name, value in asdict(test).items() if name != "permuted"}
        features.append({**plain, "adjusted_p_value": adjusted.get(i), "drifted": bool(drifted)})
    small = [f["name"] for f in features if f["measure"] == "psi" and f["value"] >= SMALL_PSI and not f["drifted"]]
    return {"features": features, "drifted": any(f["drifted"] for f in features), "score": score, "small": small}
