"""Scores of a ranking: how well positives stand above negatives. They are no means of samples, so all samples must be at hand, in an order of
their own (`gather_samples`), before anything is added: then they are equal to the bit on any number of workers."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def average_precision(scores: Tensor, positives: Tensor) -> float:
    """Return the sum over thresholds of (recall gained) x (precision there), without interpolation; equal scores are one threshold.

    The form of Manning et al. 2008, chapter 8, and of scikit-learn's `average_precision_score`.

    Args:
        scores: `(N,)`, higher is more positive.
        positives: `(N,)` bool.

    Returns:
        0 to 1; 0 where there is no positive, as in scikit-learn.
    """
    hits, seen = _at_thresholds(scores, positives)
    total = int(positives.sum())
    if total == 0:
        return 0.0
    gained = torch.diff(hits, prepend=hits.new_zeros(1))
    return math.fsum((gained / total * (hits / seen)).tolist())  # exact: torch.sum depends on the number of threads


def roc_auc(scores: Tensor, positives: Tensor) -> float | None:
    """Return the probability that a positive stands above a negative, a tie counting half (Mann and Whitney 1947): the area under the ROC curve.

    Args:
        scores: `(N,)`, higher is more positive.
        positives: `(N,)` bool.

    Returns:
        0 to 1; None where there are not both kinds.
    """
    hits, seen = _at_thresholds(scores, positives)
    misses = seen - hits
    if hits[-1] == 0 or misses[-1] == 0:
        return None
    width = torch.diff(misses, prepend=misses.new_zeros(1))
    height = (hits + torch.cat([hits.new_zeros(1), hits[:-1]])) / 2
    return math.fsum((width * height).tolist()) / float(hits[-1] * misses[-1])


def _at_thresholds(scores: Tensor, positives: Tensor) -> tuple[Tensor, Tensor]:
    """Positives, and samples, at or above each distinct score, from the highest; float64 `(T,)` each."""
    order = torch.argsort(scores, descending=True, stable=True)
    ranked = scores[order]
    last = torch.cat([ranked[1:] != ranked[:-1], torch.ones(1, dtype=torch.bool)])  # of each run of equal scores
    hits = positives[order].long().cumsum(0)[last]
    return hits.double(), (torch.nonzero(last).squeeze(1) + 1).double()
