"""Seeded stratified splits, shared by the readers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from components.data.permutation import permutation
from components.errors import UserError

Indices = npt.NDArray[np.int64]


def stratified_split(labels: npt.NDArray[Any], sizes: Mapping[str, int], remainder: str, seed: int) -> dict[str, Indices]:
    """Deal rows to splits of exact sizes, every class in the same proportion (to within one row).

    Args:
        labels: `(N,)` integer class numbers.
        sizes: rows of each split that is drawn.
        remainder: the split that takes all other rows.
        seed: of the order within the classes.

    Returns:
        For each split its row numbers, rising, int64.

    Raises:
        UserError: the sizes leave nothing for the remainder.
    """
    total = sum(sizes.values())
    if min(sizes.values(), default=0) < 0 or total >= len(labels):
        raise UserError("the splits do not fit the data", received=dict(sizes), expected=f"together fewer than {len(labels)} rows")
    # Rows ordered class by class, at random within each class, so that a class is a run and a split takes the head of each run.
    shuffled = permutation(len(labels), seed)
    runs = [shuffled[labels[shuffled] == label] for label in np.unique(labels)]
    splits: dict[str, Indices] = {}
    for name, size in sizes.items():
        quotas = _proportional([len(run) for run in runs], size)
        splits[name] = np.sort(np.concatenate([run[:quota] for run, quota in zip(runs, quotas, strict=True)]))
        runs = [run[quota:] for run, quota in zip(runs, quotas, strict=True)]
    return {remainder: np.sort(np.concatenate(runs)), **splits}


def _proportional(counts: list[int], size: int) -> list[int]:
    """Share `size` out in proportion to `counts`, in whole numbers (largest remainder; ties to the first)."""
    total = sum(counts)
    quotas = [size * count // total for count in counts]
    by_remainder = sorted(range(len(counts)), key=lambda i: -(size * counts[i] % total))
    for i in by_remainder[: size - sum(quotas)]:
        quotas[i] += 1
    return quotas
