"""Streams: equal to the bit to plain fetching, in order; errors come out where they belong; nothing is left when they are closed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from itertools import islice

import numpy as np
import psutil
import pytest
import torch

from components.data.card import Card, Column, write_card
from components.data.columns import Ragged
from components.data.dataset import ShardDataset
from components.data.sampling import Part, epoch_batches
from components.data.shards import ShardWriter
from components.data.streams import Order, Processes, Steps, direct, threaded
from tests.processes import runs, until

ROWS, BATCH = 101, 16


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> ShardDataset:
    """Rows of three floats and of some boxes each, in several shards."""
    directory = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(5)
    lengths = rng.integers(0, 4, ROWS)
    columns = {"inputs": Column("float32", (3,)), "boxes": Column("int64", (2,), ragged=True)}
    rows = {
        "inputs": rng.normal(size=(ROWS, 3)).astype(np.float32),
        "boxes": Ragged(rng.integers(0, 9, (lengths.sum(), 2)), np.r_[0, lengths.cumsum()]),
    }
    split = ShardWriter(directory, columns, shard_mib=0.001).write("train", rows)
    write_card(directory, Card("x", "x", "x", "x", {}, columns, {"train": split}, {}))
    return ShardDataset(directory, "train")


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    """Two worker processes for all tests of this file, as a run has them for all its epochs."""
    stream = Processes(workers=2, depth=3)
    yield stream
    stream.close()


def order(epoch: int = 0, start_sample: int = 0) -> Order:
    """Two micro-batches a step; the last batch has 5 rows."""
    return zip(*(epoch_batches(ROWS, BATCH, 0, epoch, i, 2, start_sample) for i in range(2)), strict=True)


def require_equal(steps: Steps, expected: list) -> None:
    found = list(steps)
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected, strict=True):
        assert [part.weight for part in mine] == [part.weight for part in theirs]
        for part, other in zip(mine, theirs, strict=True):
            assert list(part.batch) == list(other.batch)
            assert all(torch.equal(value, other.batch[name]) and value.dtype == other.batch[name].dtype for name, value in part.batch.items())


def test_direct_fetches_the_parts_of_each_step_in_order(dataset):
    steps = list(direct(dataset, order()))
    wanted = list(order())
    assert [len(step) for step in steps] == [2] * 7
    for step, parts in zip(steps, wanted, strict=True):
        assert [fetched.batch["sample_id"].tolist() for fetched in step] == [part.indices.tolist() for part in parts]
    np.testing.assert_array_equal(steps[3][1].batch["inputs"], dataset.columns(wanted[3][1].indices)["inputs"])


def test_direct_carries_the_weight_of_a_stand_in(dataset):
    step = [Part(np.array([3, 4]), 1.0), Part(np.array([3]), 0.0)]
    ((first, stand_in),) = direct(dataset, [step])
    assert (first.weight, stand_in.weight) == (1.0, 0.0)
    assert stand_in.batch["sample_id"].tolist() == [3]


@pytest.mark.parametrize("depth", [1, 3, 50])
def test_a_thread_gives_the_same_steps(dataset, depth):
    require_equal(threaded(direct(dataset, order()), depth), list(direct(dataset, order())))


def test_processes_give_the_same_steps_in_every_epoch_and_from_the_middle(dataset, processes):
    for epoch, start_sample in ((0, 0), (1, 0), (1, 3 * BATCH)):
        require_equal(processes(dataset, order(epoch, start_sample)), list(direct(dataset, order(epoch, start_sample))))


def test_processes_behind_a_thread_give_the_same_steps(dataset, processes):
    require_equal(threaded(processes(dataset, order()), 2), list(direct(dataset, order())))


def test_an_epoch_that_was_given_up_does_not_leak_into_the_next(dataset, processes):
    given_up = processes(dataset, order(0))
    next(given_up)
    given_up.close()
    require_equal(processes(dataset, order(1)), list(direct(dataset, order(1))))


def test_two_epochs_at_once_are_refused(dataset, processes):
    first, second = processes(dataset, order(0)), processes(dataset, order(1))
    next(first), next(second)
    with pytest.raises(AssertionError, match="newer epoch"):
        next(first)


def bad_order() -> Order:
    """Three good steps, then a row that is not there."""
    return [*islice(order(), 3), [Part(np.array([ROWS]), 1.0)], *islice(order(), 1)]


def test_an_error_comes_out_at_its_place(dataset, processes):
    for steps in (direct(dataset, bad_order()), threaded(direct(dataset, bad_order()), 5), processes(dataset, bad_order())):
        assert len(list(islice(steps, 3))) == 3
        with pytest.raises(IndexError, match="split with 101 rows"):
            next(steps)


def test_an_error_of_the_order_itself_comes_out_too(dataset):
    def broken() -> Iterator[list[Part]]:
        yield [Part(np.array([0]), 1.0)]
        raise RuntimeError("no more")

    steps = threaded(direct(dataset, broken()), 2)
    next(steps)
    with pytest.raises(RuntimeError, match="no more"):
        next(steps)


def counting(log: list[str], wait: Callable[[], object] = lambda: None) -> Generator[int, None, None]:
    """Endless; notes what is asked of it, and its end."""
    try:
        for number in range(10**9):
            wait()
            log.append(str(number))
            yield number
    finally:
        log.append("closed")


def prefetchers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


def test_a_thread_is_at_most_its_depth_ahead():
    log: list[str] = []
    items = threaded(counting(log), depth=3)
    assert log == []  # nothing starts before the first item is asked for
    assert [next(items), next(items)] == [0, 1]
    assert until(lambda: len(log) >= 5)
    time.sleep(0.05)  # were it to go further, it would now
    assert log == ["0", "1", "2", "3", "4"]
    items.close()


def test_closing_ends_the_thread_and_what_it_reads_from():
    log: list[str] = []
    items = threaded(counting(log), depth=2)
    next(items)
    assert len(prefetchers()) == 1
    items.close()
    assert prefetchers() == [] and log[-1] == "closed"


def test_closing_waits_for_no_more_than_the_item_at_hand():
    log: list[str] = []
    gate = threading.Semaphore(2)
    items = threaded(counting(log, gate.acquire), depth=5)
    assert next(items) == 0
    threading.Timer(0.05, gate.release).start()  # the third item arrives while we close; no fourth is begun
    items.close()
    assert prefetchers() == [] and len(log) <= 4 and log[-1] == "closed"


def test_an_abandoned_thread_ends_with_its_consumer():
    log: list[str] = []
    for _ in threaded(counting(log), depth=2):
        break  # the generator is dropped here
    assert prefetchers() == [] and log[-1] == "closed"


def test_an_order_of_nothing_gives_nothing(dataset):
    assert list(threaded(direct(dataset, []), 2)) == []


def test_processes_start_late_end_when_closed_and_draw_no_random_number_of_the_run(dataset):
    me, generator_state = psutil.Process(), torch.get_rng_state()
    before = set(me.children(recursive=True))
    stream = Processes(workers=1, depth=1)
    assert set(me.children(recursive=True)) == before  # nothing starts before the first epoch
    next(stream(dataset, order()))
    started = {p for p in set(me.children(recursive=True)) - before if "resource_tracker" not in " ".join(p.cmdline())}
    assert started
    stream.close()
    assert until(lambda: not any(runs(p.pid) for p in started))
    stream.close()  # twice is once
    assert torch.equal(torch.get_rng_state(), generator_state)
