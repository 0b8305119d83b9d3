"""Order: every row once on any number of workers, and global batches that do not depend on that number."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from components.data.permutation import permutation
from components.data.sampling import Part, batches_per_epoch, epoch_batches, evaluation_batches
from components.errors import UserError

ROWS = 359  # a prime
ORDERS = ["shuffled", "contiguous"]
ANY_ORDER = st.sampled_from(ORDERS)


@st.composite
def sizes(draw: st.DrawFn) -> tuple[int, int, int]:
    """Rows, a batch size that fits them, and a world that fits the batch."""
    rows = draw(st.integers(1, 60))
    batch_size = draw(st.integers(1, rows))
    return rows, batch_size, draw(st.integers(1, min(batch_size, 9)))


def global_batches(rows: int, batch_size: int, world: int, start_sample: int = 0, order: str = "shuffled") -> list[list[int]]:
    """The batches that the ranks make together: place p of a batch is at rank p mod world."""
    ranks = [list(epoch_batches(rows, batch_size, 7, 2, rank, world, start_sample, order)) for rank in range(world)]
    batches = []
    for parts in zip(*ranks, strict=True):
        counted = [part.indices.tolist() if part.weight else [] for part in parts]
        batches.append([counted[place % world][place // world] for place in range(sum(map(len, counted)))])
    return batches


@settings(deadline=None, max_examples=60)
@given(sizes(), ANY_ORDER)
def test_each_row_counts_once_an_epoch_in_batches_that_are_full_but_for_the_last(size, order):
    rows, batch_size, world = size
    batches = global_batches(rows, batch_size, world, order=order)
    assert sorted(row for batch in batches for row in batch) == list(range(rows))
    assert [len(batch) for batch in batches] == [min(batch_size, rows - first) for first in range(0, rows, batch_size)]


@settings(deadline=None, max_examples=60)
@given(sizes(), ANY_ORDER)
def test_the_global_batches_do_not_depend_on_the_number_of_ranks(size, order):
    rows, batch_size, world = size
    assert global_batches(rows, batch_size, world, order=order) == global_batches(rows, batch_size, 1, order=order)


@settings(deadline=None, max_examples=60)
@given(sizes(), ANY_ORDER, st.data())
def test_going_on_between_two_batches_gives_the_tail(size, order, data):
    rows, batch_size, world = size
    whole = global_batches(rows, batch_size, 1, order=order)
    done = data.draw(st.integers(0, len(whole)))
    assert global_batches(rows, batch_size, world, min(done * batch_size, rows), order) == whole[done:]


@settings(deadline=None, max_examples=60)
@given(sizes(), sizes(), st.data())
def test_going_on_with_another_batch_size_and_world_still_visits_each_row_once(first, second, data):
    rows, batch_size, world = first
    other_batch = min(second[1], rows)
    done = data.draw(st.integers(0, batches_per_epoch(rows, batch_size)))
    before = global_batches(rows, batch_size, world)[:done]
    start_sample = sum(map(len, before))
    after = global_batches(rows, other_batch, min(second[2], other_batch), start_sample)
    assert sorted(row for batch in before + after for row in batch) == list(range(rows))
    assert all(len(batch) == other_batch for batch in after[:-1])


@settings(deadline=None, max_examples=60)
@given(sizes())
def test_contiguous_each_place_follows_consecutive_rows_of_a_stream(size):
    rows, batch_size, _ = size
    batches = global_batches(rows, batch_size, 1, order="contiguous")
    streams = [[batch[place] for batch in batches if place < len(batch)] for place in range(batch_size)]
    assert [row for stream in streams for row in stream] == list(range(rows))  # end to end, they are the rows
    assert [len(stream) for stream in streams] == [rows // batch_size + (place < rows % batch_size) for place in range(batch_size)]


def test_contiguous_by_hand():
    # 11 rows in 4 streams: 0 1 2, 3 4 5, 6 7 8 and 9 10.
    assert global_batches(11, 4, 1, order="contiguous") == [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8]]
    assert [p.indices.tolist() for p in epoch_batches(11, 4, 0, 0, 1, 2, 0, "contiguous")] == [[3, 9], [4, 10], [5]]


def test_contiguous_is_the_same_in_every_epoch_and_for_every_seed():
    orders = [[p.indices.tolist() for p in epoch_batches(11, 4, seed, epoch, 0, 1, order="contiguous")] for seed, epoch in ((0, 0), (3, 5))]
    assert orders[0] == orders[1]


def test_contiguous_goes_on_between_batches_only():
    with pytest.raises(UserError, match="between two batches") as raised:
        epoch_batches(11, 4, 0, 0, 0, 1, start_sample=6, order="contiguous")
    assert raised.value.expected == "a multiple of the batch size, 4"
    assert list(epoch_batches(11, 4, 0, 0, 0, 1, start_sample=11, order="contiguous")) == []  # the end is between batches too


def test_micro_batches_are_ranks():
    """2 workers with 3 micro-batches each take together what one worker takes."""
    micro = [[list(epoch_batches(ROWS, 32, 7, 2, rank + 2 * i, 6)) for i in range(3)] for rank in range(2)]
    together = [set() for _ in range(batches_per_epoch(ROWS, 32))]
    for parts in (parts for rank in micro for parts in rank):
        for whole, part in zip(together, parts, strict=True):
            whole |= set(part.indices.tolist()) if part.weight else set()
    assert together == [set(batch) for batch in global_batches(ROWS, 32, 1)]


@pytest.mark.parametrize("order", ORDERS)
def test_a_rank_without_a_row_takes_a_stand_in_of_weight_zero(order):
    # 9 rows in batches of 4: the last batch has one row, which rank 0 takes.
    last = [list(epoch_batches(9, 4, 0, 0, rank, 3, order=order))[-1] for rank in range(3)]
    assert [part.weight for part in last] == [1.0, 0.0, 0.0]
    assert last[0].indices.tolist() == last[1].indices.tolist() == last[2].indices.tolist()
    assert len(last[0].indices) == 1


def test_seed_and_epoch_change_the_order_and_nothing_else_does():
    def order(seed: int, epoch: int) -> list[int]:
        return next(epoch_batches(ROWS, ROWS, seed, epoch, 0, 1)).indices.tolist()

    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def test_every_row_comes_first_equally_often():
    firsts = np.bincount([permutation(10, 1, epoch)[0] for epoch in range(5000)], minlength=10)
    assert stats.chisquare(firsts).pvalue > 1e-3


@pytest.mark.parametrize(("batch_size", "world", "message"), [(360, 1, "larger than the data"), (0, 1, "empty")])
@pytest.mark.parametrize("order", ORDERS)
def test_a_batch_that_does_not_fit_is_refused_at_once(batch_size, world, message, order):
    with pytest.raises(UserError, match=message):
        epoch_batches(ROWS, batch_size, 0, 0, 0, world, order=order)


@pytest.mark.parametrize("start_sample", [-1, ROWS + 1])
def test_a_start_outside_the_data_is_refused_at_once(start_sample):
    with pytest.raises(UserError, match="outside the data"):
        epoch_batches(ROWS, 32, 0, 0, 0, 1, start_sample)


def evaluated(rows: int, world: int, lockstep: bool) -> list[list[Part]]:
    return [list(evaluation_batches(rows, 50, rank, world, lockstep)) for rank in range(world)]


@pytest.mark.parametrize("lockstep", [False, True])
@pytest.mark.parametrize("world", [1, 2, 3, 20])
def test_evaluation_deals_the_same_whole_batches_to_any_number_of_ranks(world, lockstep):
    dealt = [[part.indices.tolist() for part in parts if part.weight == 1.0] for parts in evaluated(ROWS, world, lockstep)]
    in_order = sorted(batch for batches in dealt for batch in batches)
    assert in_order == [list(range(first, min(first + 50, ROWS))) for first in range(0, ROWS, 50)]
    assert all(batch[0] // 50 % world == rank for rank, batches in enumerate(dealt) for batch in batches)


def test_without_lockstep_a_rank_gets_what_there_is():
    # 359 rows are 8 batches of 50: 3, 3 and 2 on three ranks.
    assert [len(parts) for parts in evaluated(ROWS, 3, lockstep=False)] == [3, 3, 2]
    assert all(part.weight == 1.0 for parts in evaluated(ROWS, 3, lockstep=False) for part in parts)


@pytest.mark.parametrize(("world", "weights"), [(3, [[1, 1, 1], [1, 1, 1], [1, 1, 0]]), (9, [[1]] * 8 + [[0]])])
def test_in_lockstep_ranks_that_have_run_out_take_row_0_uncounted(world, weights):
    parts = evaluated(ROWS, world, lockstep=True)
    assert [[part.weight for part in rank] for rank in parts] == weights
    assert parts[-1][-1].indices.tolist() == [0]


def test_an_evaluation_batch_may_be_larger_than_the_data_and_the_data_empty():
    assert [part.indices.tolist() for part in evaluation_batches(3, 256, 0, 1)] == [[0, 1, 2]]
    assert list(evaluation_batches(0, 256, 0, 1, lockstep=True)) == []
