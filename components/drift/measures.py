"""Distances between two samples and what chance makes of them, on numpy arrays alone.

Legend: n rows of the reference, m of the newest, K categories, F features, P permutations.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

Array = npt.NDArray[np.float64]

_AT_ONCE = 256  # permutations: bounds their memory
_SMOOTHING = 0.5  # of a row, in each category: an empty one must not make the logarithm infinite (Jeffreys' prior)


def psi(reference: Array, newest: Array) -> float:
    """Return the population stability index of two histograms, `sum (q - p) ln(q / p)`: counts `(K,)`, `(K,) -> [0, inf)`.

    Shares are `(count + 1/2) / (total + K/2)`. It is the symmetric Kullback-Leibler divergence (Jeffreys 1946; Siddiqi 2006, "Credit risk
    scorecards", for its thresholds). The values are unchanged when the two are exchanged.
    """
    return float(_psi(reference, newest))


def _psi(reference: Array, newest: Array) -> Array:
    """`(..., K), (..., K) -> (...)`."""
    shares = [(counts + _SMOOTHING) / (counts.sum(axis=-1, keepdims=True) + _SMOOTHING * counts.shape[-1]) for counts in (reference, newest)]
    p, q = shares
    value: Array = ((q - p) * np.log(q / p)).sum(axis=-1)
    return value


def psi_p_value(value: float, rows: int, others: int, categories: int) -> float:
    """Return how often chance gives such a PSI: `psi n m / (n + m)` is near chi-squared with K - 1 degrees (Yurdakul 2018, section 3)."""
    if categories < 2:
        return 1.0
    scaled = value * rows * others / (rows + others)
    return float(torch.special.gammaincc(torch.tensor((categories - 1) / 2, dtype=torch.float64), torch.tensor(scaled / 2, dtype=torch.float64)))


def quantile_edges(values: Array, bins: int) -> Array:
    """Return the inner edges of bins `[edge, next edge)` that hold equal parts of the values, `(edges,)`, rising.

    A value that fills more than a bin by itself, such as the zero of a sparse column, gets one of its own.
    """
    edges, times = np.unique(np.quantile(values, np.arange(1, bins) / bins, method="inverted_cdf"), return_counts=True)
    return np.unique(np.concatenate([edges, np.nextafter(edges[times > 1], np.inf)]))


def histogram(values: Array, edges: Array) -> Array:
    """Count values between edges, the outer bins open, and what is no number in a bin of its own, the last: `(n,) -> (edges + 2,)`."""
    known = values[~np.isnan(values)]
    counts = np.bincount(np.searchsorted(edges, known, side="right"), minlength=len(edges) + 1)
    return np.append(counts, len(values) - len(known)).astype(np.float64)


def ks(reference: Array, newest: Array) -> tuple[float, float]:
    """Return the two-sample Kolmogorov-Smirnov statistic, the largest distance of the empirical distribution functions, and its exact p-value.

    The p-value counts the lattice paths from (0, 0) to (n, m) that stay nearer to the diagonal (Hodges 1958); for samples with ties it is too large
    rather than too small. NaN is left out.
    """
    first, second = (np.sort(values[~np.isnan(values)]) for values in (reference, newest))
    n, m = len(first), len(second)
    if n == 0 or m == 0:
        return (0.0, 1.0) if n == m else (1.0, 0.0)
    everywhere = np.concatenate([first, second])
    below, below_too = (np.searchsorted(values, everywhere, side="right").astype(np.int64) for values in (first, second))
    distance = int(np.abs(below * m - below_too * n).max())  # times n m, so a whole number
    return distance / (n * m), _ks_p_value(n, m, distance)


def _ks_p_value(n: int, m: int, distance: int) -> float:
    """P(D >= distance / (n m)): the share of paths that touch `|i m - j n| >= distance` on their way.

    Of the paths to (i, j), i / (i + j) come from (i - 1, j): `share(i, j) = (i share(i - 1, j) + j share(i, j - 1)) / (i + j)`, 1 outside.
    One diagonal i + j at a time, only what lies inside; nothing is subtracted, so small values are as exact as large ones.
    """
    share = np.ones(n + 2)  # of (i, diagonal - i) at i + 1
    share[1] = 0.0  # (0, 0)
    before = (0, 0)
    for diagonal in range(1, n + m + 1):
        low = max((diagonal * n - distance) // (n + m) + 1, diagonal - m, 0)
        high = min(-((-diagonal * n - distance) // (n + m)) - 1, n, diagonal)
        if low > high:
            return 1.0
        i = np.arange(low, high + 1)
        inside = (i * share[low : high + 1] + (diagonal - i) * share[low + 1 : high + 2]) / diagonal
        share[before[0] + 1 : before[1] + 2] = 1.0
        share[low + 1 : high + 2], before = inside, (low, high)
    return float(share[n + 1]) if distance > 0 else 1.0


def mmd(reference: Array, newest: Array, permutations: int, seed: int) -> tuple[float, float]:
    """Return the unbiased squared maximum mean discrepancy of an RBF kernel, and its permutation p-value.

    `sum_(i != j) k(x_i, x_j) / (n (n - 1)) + sum_(i != j) k(y_i, y_j) / (m (m - 1)) - 2 sum k(x_i, y_j) / (n m)` with
    `k(a, b) = exp(-|a - b|^2 / (2 s^2))`, s the median distance of all pairs (Gretton et al. 2012, "A kernel two-sample test", lemma 6 and
    section 8). Near 0, also below it, where the distributions are the same; at most 2. The p-value is `(1 + #{permuted >= found}) / (1 + P)`.

    Args:
        reference: `(n, F)`, n at least 2.
        newest: `(m, F)`, m at least 2.
        permutations: P.
        seed: of them.
    """
    kernel = _rbf(np.concatenate([reference, newest]))
    n, m = len(reference), len(newest)
    sums, found = kernel.sum(axis=0), []
    for belongs in _assignments(n, m, permutations, seed):
        within = np.einsum("pi,pi->p", belongs, belongs @ kernel)
        touching = belongs @ sums  # pairs that begin in the first sample
        others = sums.sum() - 2 * touching + within
        found.append(within / (n * (n - 1)) + others / (m * (m - 1)) - 2 * (touching - within) / (n * m))
    return _first_and_share(np.concatenate(found))


def _rbf(rows: Array) -> Array:
    """The kernel of all pairs, `(N, F) -> (N, N)`, zero on the diagonal."""
    norms = (rows * rows).sum(axis=1)
    squares = np.maximum(norms[:, None] + norms - 2 * rows @ rows.T, 0.0)
    median = np.median(squares[np.triu_indices(len(rows), 1)])
    kernel: Array = np.exp(-squares / (2 * (median if median > 0 else 1.0)))
    np.fill_diagonal(kernel, 0.0)
    return kernel


def counts_psi(reference: Array, newest: Array, permutations: int, seed: int) -> tuple[float, float]:
    """Return the PSI of histograms that each row adds several counts to, `(n, K)` and `(m, K)`, and its permutation p-value.

    The pixels of one mask or the tokens of one sentence go together; chi-squared would take them for that many independent rows.
    """
    rows = np.concatenate([reference, newest])
    total, found = rows.sum(axis=0), []
    for belongs in _assignments(len(reference), len(newest), permutations, seed):
        first = belongs @ rows
        found.append(_psi(first, total - first))
    return _first_and_share(np.concatenate(found))


def _assignments(n: int, m: int, permutations: int, seed: int) -> Iterator[Array]:
    """Yield who belongs to the first sample, `(p, n + m)` of 0 and 1, a few at a time: as it is, then P random ones."""
    generator = np.random.default_rng(seed)
    for start in range(0, permutations + 1, _AT_ONCE):
        belongs = np.zeros((min(_AT_ONCE, permutations + 1 - start), n + m))
        for number, row in enumerate(belongs):
            row[np.arange(n) if start + number == 0 else generator.permutation(n + m)[:n]] = 1.0
        yield belongs


def _first_and_share(found: Array) -> tuple[float, float]:
    """Return the first value, and the share of all that are no smaller; a rounding error below it counts as equal."""
    return float(found[0]), float((found >= found[0] - 1e-12 * abs(found[0])).mean())


def holm(p_values: list[float]) -> list[float]:
    """Return adjusted p-values, to be compared with the level itself: the chance of one false alarm among all is then at most the level.

    Holm 1979: the k-th smallest of K is multiplied by K - k + 1, and none is smaller than the one before.
    """
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        running = max(running, min(1.0, p_values[place] * (len(p_values) - rank)))
        adjusted[place] = running
    return adjusted
