"""The paired bootstrap: how far may a mean difference be trusted that was measured on N samples?

Both models are judged on the same samples, so what is resampled is the difference of each sample: what makes a sample hard for both cancels
(Efron and Tibshirani 1993, "An Introduction to the Bootstrap", 13.3, percentile interval).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_DRAWS_AT_ONCE = 1 << 22  # indices held in memory


@dataclass(frozen=True)
class Interval:
    """A mean and where it may lie.

    Attributes:
        mean: of the N values.
        lower, upper: ends of the percentile interval.
        rows: N.
    """

    mean: float
    lower: float
    upper: float
    rows: int


def bootstrap_interval(values: npt.NDArray[np.float64], resamples: int, confidence: float, seed: int) -> Interval:
    """Return the percentile interval of the mean of `(N,)` values; for paired samples, of their differences.

    Args:
        resamples: sets of N values that are drawn with replacement.
        confidence: the part of the resampled means between the ends, such as 0.95.
        seed: the same seed, the same interval.

    Raises:
        ValueError: there is no value.
    """
    if len(values) == 0:
        raise ValueError("an interval of no values")
    # Which of several equal values is drawn does not matter: draw how often each distinct value comes. Accuracies differ by -1, 0 or 1, which are
    # three counts instead of N indices.
    distinct, counts = np.unique(values, return_counts=True)
    draws = np.random.default_rng(seed)
    if len(distinct) * 8 < len(values):
        means = draws.multinomial(len(values), counts / len(values), size=resamples) @ distinct / len(values)
    else:
        at_once = max(1, _DRAWS_AT_ONCE // len(values))
        sizes = [min(at_once, resamples - start) for start in range(0, resamples, at_once)]
        means = np.concatenate([values[draws.integers(len(values), size=(size, len(values)))].mean(axis=1) for size in sizes])
    tail = (1 - confidence) / 2
    lower, upper = np.quantile(means, [tail, 1 - tail])
    return Interval(float(values.mean()), float(lower), float(upper), len(values))
