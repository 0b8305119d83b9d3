"""Mean, standard deviation and range of a column, block by block."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from components.data.card import Statistics
from components.data.columns import Array


def column_statistics(blocks: Iterable[Array]) -> Statistics:
    """Return the statistics of a dense column whose rows come in blocks `(n, C, ...)`, `(n, D)` or `(n,)`.

    The first axis of a row is the channel. Bytes and 16-bit integers are summed exactly, so that every machine and every
    cutting into blocks gives the same card; wider numbers are merged in float64 (Chan, Golub and LeVeque, 1979).

    Raises:
        ValueError: there is no row.
    """
    moments, minimum, maximum = _Moments(), float("inf"), float("-inf")
    for block in blocks:
        if block.size:
            moments.add(block.reshape(len(block), block.shape[1] if block.ndim > 1 else 1, -1))
            minimum, maximum = min(minimum, block.min().item()), max(maximum, block.max().item())
    mean, std = moments.result()
    return Statistics(mean, std, float(minimum), float(maximum))


class _Moments:
    """Count, sum and sum of squares per channel, exact in integers; mean and squared deviations in float64 otherwise."""

    def __init__(self) -> None:
        self.count = 0
        self.total: Array = np.zeros(1, dtype=object)
        self.squares: Array = np.zeros(1, dtype=object)
        self.exact = True

    def add(self, values: Array) -> None:
        """Take in `(n, C, positions)`."""
        self.exact = values.dtype.kind in "biu" and values.dtype.itemsize <= 2
        if self.exact:
            wide = values.astype(np.int64)
            self.total = self.total + wide.sum(axis=(0, 2)).astype(object)
            self.squares = self.squares + (wide * wide).sum(axis=(0, 2)).astype(object)
            self.count += values.shape[0] * values.shape[2]
        else:
            self._merge(values.astype(np.float64))

    def _merge(self, values: Array) -> None:
        # Here `total` holds the mean and `squares` the sum of squared deviations.
        with np.errstate(invalid="ignore"):  # an infinite value gives a NaN, which the caller looks for
            count, mean = values.shape[0] * values.shape[2], values.mean(axis=(0, 2))
            deviations = ((values - mean[:, None]) ** 2).sum(axis=(0, 2))
            both, delta = self.count + count, mean - self.total
            self.total = self.total + delta * (count / both)
            self.squares = self.squares + deviations + delta**2 * (self.count * count / both)
            self.count = both

    def result(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return mean and population standard deviation per channel."""
        n = self.count
        if n == 0:
            raise ValueError("no rows to take statistics of")
        if self.exact:
            mean = [int(t) / n for t in self.total]
            variance = [(n * int(s) - int(t) ** 2) / n**2 for s, t in zip(self.squares, self.total, strict=True)]
        else:
            mean, variance = [float(t) for t in self.total], [float(s) / n for s in self.squares]
        return tuple(mean), tuple(v**0.5 for v in variance)
