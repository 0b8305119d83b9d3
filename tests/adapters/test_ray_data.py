"""Ray Data as a stream, on a real local Ray: equal to `direct` to the bit, in order, with every CPU of the cluster taken."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from components.data.card import Card, Column, write_card
from components.data.columns import Ragged
from components.data.dataset import ShardDataset
from components.data.sampling import Part, epoch_batches
from components.data.shards import ShardWriter
from components.data.streams import Order, direct, threaded
from flows.adapters.ray_data import ray_data
from tests.processes import until

ROOT = Path(__file__).parents[2]
ROWS, BATCH, WIDE = 203, 8, 50_000
STORE_BYTES = 256 << 20


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """One CPU, and a worker that holds it, as the trainer's workers do."""
    ray = pytest.importorskip("ray")
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")
    options = {"include_dashboard": False, "object_store_memory": STORE_BYTES, "log_to_driver": False, "logging_level": logging.ERROR}
    ray.init(address="local", num_cpus=1, runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}}, **options)

    @ray.remote(num_cpus=1)
    class Worker:
        def here(self) -> bool:
            return True

    worker = Worker.remote()
    assert ray.get(worker.here.remote())
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> ShardDataset:
    """Rows of 50 KB and of some boxes each, in several shards."""
    directory = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(3)
    lengths = rng.integers(0, 4, ROWS)
    columns = {"inputs": Column("uint8", (WIDE,)), "boxes": Column("float32", (4,), ragged=True)}
    rows = {
        "inputs": rng.integers(0, 256, (ROWS, WIDE), dtype=np.uint8),
        "boxes": Ragged(rng.random((lengths.sum(), 4), dtype=np.float32), np.r_[0, lengths.cumsum()]),
    }
    split = ShardWriter(directory, columns, shard_mib=1).write("train", rows)
    write_card(directory, Card("x", "x", "x", "x", {}, columns, {"train": split}, {}))
    return ShardDataset(directory, "train")


def order(epoch: int, start_sample: int = 0) -> Order:
    """Two micro-batches a step, 26 steps; the last batch has 3 rows."""
    return zip(*(epoch_batches(ROWS, BATCH, 0, epoch, i, 2, start_sample) for i in range(2)), strict=True)


@pytest.mark.parametrize(("epoch", "start_sample", "depth"), [(0, 0, 2), (1, 13 * BATCH, 0)])
def test_the_steps_are_those_of_direct_to_the_bit(cluster, dataset, epoch, start_sample, depth):
    steps = ray_data(dataset, order(epoch, start_sample))
    found = list(threaded(steps, depth) if depth else steps)
    expected = list(direct(dataset, order(epoch, start_sample)))
    assert len(found) == len(expected) == 26 - start_sample // BATCH
    for mine, theirs in zip(found, expected, strict=True):
        assert [part.weight for part in mine] == [part.weight for part in theirs]
        for part, other in zip(mine, theirs, strict=True):
            assert list(part.batch) == list(other.batch)
            assert all(torch.equal(value, other.batch[name]) and value.dtype == other.batch[name].dtype for name, value in part.batch.items())


def test_a_batch_may_be_changed(cluster, dataset):
    """Arrow's memory is read-only; what is handed over is not."""
    (step,) = ray_data(dataset, [[Part(np.arange(3), 1.0)]])
    step[0].batch["inputs"].zero_()
    assert step[0].batch["inputs"].sum() == 0


def test_an_epoch_larger_than_the_object_store_passes_through_it(cluster, dataset):
    """200 steps of 1.6 MB for a consumer that starts late: to fetch ahead without end would overfill the store."""
    part = Part(np.arange(32), 1.0)
    steps = ray_data(dataset, [[part]] * 200)
    fetched_bytes = next(steps)[0].batch["inputs"].numel()
    time.sleep(1.0)
    fetched_bytes += sum(fetched.batch["inputs"].numel() for (fetched,) in steps)
    assert fetched_bytes == 200 * 32 * WIDE > STORE_BYTES


def test_an_error_in_a_task_is_of_its_own_type(cluster, dataset):
    with pytest.raises(IndexError, match="split with 203 rows"):
        list(ray_data(dataset, [[Part(np.array([ROWS]), 1.0)]]))


def test_closing_ends_the_work(cluster, dataset):
    list(ray_data(dataset, [[Part(np.arange(2), 1.0)]]))  # what Ray starts once and keeps is there before we look
    before = set(threading.enumerate())
    steps = ray_data(dataset, [[Part(np.arange(32), 1.0)]] * 400)
    next(steps)
    steps.close()
    assert until(lambda: not {t for t in threading.enumerate() if t.name != "Prefetcher"} - before)


def test_an_order_of_nothing_gives_nothing(cluster, dataset):
    assert list(ray_data(dataset, order(0, ROWS))) == []
