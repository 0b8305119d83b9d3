"""Ray Data as a stream (components/data/streams.py): for data that outgrow a node's disk, rows are fetched by Ray tasks on any node.

The data set of an epoch is its index order: Ray Data maps steps of row numbers to fetched columns and hands them over in that order. So the
batches are those of `direct`, to the bit, and an epoch is resumed by handing over the rest of its order.
"""

from __future__ import annotations

import functools
import pickle
from collections.abc import Iterator
from typing import Any

import torch

from components.data.streams import Fetched, Order, Source, Steps, fetch_step

_TASKS = 4  # at a time, for each rank
_STEPS_PER_TASK = 8  # a task costs some milliseconds beside its work
_COLUMN = "step"  # of the tables that travel: one row a step, pickled, because the parts of a step differ in length


def ray_data(dataset: Source, order: Order) -> Steps:
    """Yield the steps of `order`, fetched by the Ray cluster that this process belongs to; the data set's files must be seen by every node.

    Ray starts no more fetches than its object store has room for. Closing ends the tasks; a parked
    thread of Ray's (`Prefetcher`, 2.60) stays.

    Raises:
        ray.exceptions.RayTaskError: a fetch failed; it is also an instance of the error's own type.
    """
    steps = _pipeline(dataset, order)
    if steps is not None:
        for table in steps.iter_batches(batch_size=1, batch_format="pyarrow"):
            yield _unpack(table[_COLUMN][0].as_buffer())


def _pipeline(dataset: Source, order: Order) -> Any:
    """The lazy Ray data set of the fetched steps; None where there are none."""
    import ray.data

    rows = [{_COLUMN: pickle.dumps(list(step), protocol=5)} for step in order]
    if not rows:
        return None
    # Of the ways in, this one alone runs no task of its own: such a task takes a CPU, and would wait for one for ever.
    blocks = ray.data.from_items(rows, override_num_blocks=-(-len(rows) // _STEPS_PER_TASK))
    source = functools.partial(_fetch, pickle.dumps(dataset))
    # No CPU of its own: the trainer's workers hold them all, and a fetch mostly waits for a disk or a network.
    compute = ray.data.TaskPoolStrategy(size=_TASKS)
    steps = blocks.map_batches(source, batch_size=None, batch_format="pyarrow", compute=compute, num_cpus=0)
    steps.context.execution_options.preserve_order = True
    steps.context.enable_progress_bars = False
    return steps


def _fetch(dataset: bytes, steps: Any) -> Iterator[Any]:
    """What a task does: `steps` is a table of pickled parts; a table with one fetched step is yielded for each."""
    source = _opened(dataset)
    for sent in steps[_COLUMN]:
        yield _table(_pack(fetch_step(source, pickle.loads(sent.as_buffer()))))


@functools.lru_cache(maxsize=8)
def _opened(dataset: bytes) -> Source:
    """A task's process serves many tasks, and opening a data set reads the head of every shard."""
    source: Source = pickle.loads(dataset)
    return source


def _table(row: bytes) -> Any:
    import pyarrow  # type: ignore[import-untyped]

    return pyarrow.table({_COLUMN: pyarrow.array([row], type=pyarrow.large_binary())})  # plain binary ends at 2 GiB


def _pack(step: list[Fetched]) -> bytes:
    """As NumPy arrays: a tensor would be pickled by a copy more."""
    return pickle.dumps([({name: value.numpy() for name, value in part.batch.items()}, part.weight) for part in step], protocol=5)


def _unpack(step: Any) -> list[Fetched]:
    return [Fetched({name: torch.from_numpy(value) for name, value in batch.items()}, weight) for batch, weight in pickle.loads(step)]
