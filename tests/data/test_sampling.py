"""Order: every row once on any number of workers, and global batches that do not depend on that number."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from components.data.permutation import permutation
from components.data.sampling import batches_per_epoch, epoch_batches, evaluation_batches
from components.errors import UserError

ROWS = 359  # a prime


@pytest.mark.parametrize("world", [1, 2, 3, 7])
@pytest.mark.parametrize("batch_size", [7, 32, 358, 359])
def test_each_row_counts_once_an_epoch_and_all_ranks_make_all_steps(world, batch_size):
    ranks = [list(epoch_batches(ROWS, batch_size, 0, 3, rank, world)) for rank in range(world)]
    assert {len(batches) for batches in ranks} == {batches_per_epoch(ROWS, batch_size)} == {int(np.ceil(ROWS / batch_size))}
    counted = np.concatenate([batch.indices for batches in ranks for batch in batches if batch.weight == 1.0])
    assert sorted(counted) == list(range(ROWS))
    assert all(len(batch.indices) > 0 for batches in ranks for batch in batches)


@pytest.mark.parametrize("world", [2, 3])
def test_global_batches_do_not_depend_on_the_number_of_workers(world):
    alone = [set(batch.indices) for batch in epoch_batches(ROWS, 32, 5, 1, 0, 1)]
    ranks = [list(epoch_batches(ROWS, 32, 5, 1, rank, world)) for rank in range(world)]
    assert [set().union(*(set(b.indices) for b in parts if b.weight)) for parts in zip(*ranks, strict=True)] == alone


def test_a_rank_without_a_row_takes_a_stand_in_of_weight_zero():
    # 9 rows in batches of 4: the last batch has one row, which rank 0 takes.
    last = [list(epoch_batches(9, 4, 0, 0, rank, 3))[-1] for rank in range(3)]
    assert [batch.weight for batch in last] == [1.0, 0.0, 0.0]
    assert last[0].indices.tolist() == last[1].indices.tolist() == last[2].indices.tolist()
    assert len(last[0].indices) == 1


def test_start_leaves_out_the_first_batches():
    whole = list(epoch_batches(ROWS, 32, 0, 0, 1, 2))
    resumed = list(epoch_batches(ROWS, 32, 0, 0, 1, 2, start=5))
    assert [b.indices.tolist() for b in resumed] == [b.indices.tolist() for b in whole[5:]]


def test_seed_and_epoch_change_the_order_and_nothing_else_does():
    def order(seed: int, epoch: int) -> list[int]:
        return next(epoch_batches(ROWS, ROWS, seed, epoch, 0, 1)).indices.tolist()

    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def test_every_row_comes_first_equally_often():
    firsts = np.bincount([permutation(10, 1, epoch)[0] for epoch in range(5000)], minlength=10)
    assert stats.chisquare(firsts).pvalue > 1e-3


@pytest.mark.parametrize(("batch_size", "world", "message"), [(360, 1, "larger than the data"), (2, 3, "number of workers"), (0, 1, "empty")])
def test_a_batch_that_does_not_fit_is_refused_at_once(batch_size, world, message):
    with pytest.raises(UserError, match=message):
        epoch_batches(ROWS, batch_size, 0, 0, 0, world)


@pytest.mark.parametrize("world", [1, 2, 3, 20])
def test_evaluation_deals_the_same_whole_batches_to_any_number_of_ranks(world):
    dealt = [list(evaluation_batches(ROWS, 50, rank, world)) for rank in range(world)]
    in_order = sorted(batch.tolist() for batches in dealt for batch in batches)
    assert in_order == [list(range(first, min(first + 50, ROWS))) for first in range(0, ROWS, 50)]
    assert all(batch[0] // 50 % world == rank for rank, batches in enumerate(dealt) for batch in batches)


def test_an_evaluation_batch_may_be_larger_than_the_data():
    assert [batch.tolist() for batch in evaluation_batches(3, 256, 0, 1)] == [[0, 1, 2]]
