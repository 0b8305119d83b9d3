"""Which samples a report shows."""

from __future__ import annotations

import torch
from torch import Tensor


def select_samples(sample_id: Tensor, losses: Tensor, correct: Tensor, *, worst: int = 12, wrong: int = 12, right: int = 12) -> Tensor:
    """Choose the samples of the greatest loss, then some of the other wrong ones and some of the right ones.

    The some are spread evenly over the sample ids, so that a data set sorted by class shows all classes. The choice depends on the set of
    samples alone, not on the order in which they come; of two equal losses the lower id goes first.

    Args:
        sample_id: int64 `(N,)`, unique.
        losses: `(N,)`, finite.
        correct: bool `(N,)`.
        worst: how many of the greatest loss.
        wrong: how many of the remaining wrong ones.
        right: how many of the remaining right ones.

    Returns:
        int64 ids, unique, at most worst + wrong + right: the worst (greatest loss first), the wrong, the right (both by id).
    """
    by_id = torch.argsort(sample_id)
    sample_id, losses, correct = sample_id[by_id], losses[by_id], correct[by_id]
    order = torch.argsort(losses, descending=True, stable=True)
    rest = order[worst:].sort().values
    chosen = [order[:worst], _spread(rest[~correct[rest]], wrong), _spread(rest[correct[rest]], right)]
    return sample_id[torch.cat(chosen)]


def _spread(positions: Tensor, count: int) -> Tensor:
    """Return at most `count` of the positions at even distances, `(n,) -> (min(n, count),)`."""
    count = min(count, len(positions))
    return positions[(torch.arange(count) * len(positions)) // max(count, 1)]
