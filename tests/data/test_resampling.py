"""Rows drawn with replacement (bagging), and the order of training that takes them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from components.data.permutation import with_replacement
from components.data.sampling import epoch_batches


def test_a_replicate_misses_a_third_of_the_rows():
    """Notes 002 T52: 36.8 %, of n rows (1 - 1 / n)^n."""
    rows = 20_000
    missed = [1 - len(np.unique(with_replacement(rows, seed))) / rows for seed in range(20)]
    assert np.mean(missed) == pytest.approx((1 - 1 / rows) ** rows, abs=2e-3)
    assert np.mean(missed) == pytest.approx(0.368, abs=2e-3)


def test_every_row_is_as_likely():
    drawn = np.concatenate([with_replacement(50, seed) for seed in range(400)])
    assert drawn.min() == 0 and drawn.max() == 49
    assert stats.chisquare(np.bincount(drawn)).pvalue > 0.01


def test_it_is_the_same_for_ever():
    assert with_replacement(8, 0).tolist() == [5, 0, 0, 2, 1, 1, 2, 3]


@pytest.mark.parametrize("world", [1, 3])
def test_an_epoch_takes_the_same_replicate_in_another_order(world):
    def taken(epoch):
        ranks = [epoch_batches(41, 8, 7, epoch, rank, world, order="resampled") for rank in range(world)]
        return [row for parts in zip(*ranks, strict=True) for part in parts if part.weight for row in part.indices.tolist()]

    first, second = taken(0), taken(1)
    assert sorted(first) == sorted(second) == sorted(with_replacement(41, 7).tolist()) and first != second
