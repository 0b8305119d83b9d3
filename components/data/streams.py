"""From the order of an epoch to fetched steps: in this process, by worker processes, and ahead of the consumer by a thread.

Every stream gives equal batches, to the bit, in the order that it was given. None draws a random number: those belong to samples (draws.py).
The unit is a step, the list of its micro-batches, so that what is fetched ahead is always whole steps.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from components.data.sampling import Indices, Part

T = TypeVar("T")


class Source(Protocol):
    """What rows are fetched from: ShardDataset, or something with its face."""

    def fetch(self, indices: Indices) -> dict[str, Tensor]: ...


@dataclass(frozen=True)
class Fetched:
    """A fetched micro-batch.

    Args:
        batch: named tensors, first axis = sample.
        weight: of the part that it was fetched for.
    """

    batch: dict[str, Tensor]
    weight: float


Order = Iterable[Sequence[Part]]  # of an epoch: the parts of each step
Steps = Generator[list[Fetched], None, None]  # closing it ends whatever works for it
Stream = Callable[[Source, Order], Steps]


def direct(dataset: Source, order: Order) -> Steps:
    """Yield the steps of `order`, each fetched when it is asked for."""
    for step in order:
        yield fetch_step(dataset, step)


def fetch_step(dataset: Source, step: Sequence[Part]) -> list[Fetched]:
    """Fetch the parts of one step."""
    return [Fetched(dataset.fetch(part.indices), part.weight) for part in step]


def threaded(steps: Generator[T, None, None], depth: int) -> Generator[T, None, None]:
    """Yield what `steps` yields, from a thread that works up to `depth` items ahead of the one that was taken last.

    An error in `steps` is raised here, at its place in the order. Closing ends the thread, after the item that it is at, and closes
    `steps`. What `steps` does must not depend on the thread that it is called from, such as an enclosing `torch.no_grad`.
    """
    assert depth >= 1
    results: queue.SimpleQueue[T | _End] = queue.SimpleQueue()
    slots, stopped = threading.Semaphore(depth), threading.Event()

    def work() -> None:
        try:
            with closing(steps):
                while slots.acquire() and not stopped.is_set():
                    results.put(next(steps))
        except StopIteration:
            results.put(_End(None))
        except BaseException as error:
            results.put(_End(error))

    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        while not isinstance(item := results.get(), _End):
            slots.release()
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stopped.set()
        slots.release()
        thread.join()


@dataclass(frozen=True)
class _End:
    error: BaseException | None


class Processes:
    """A stream by worker processes, which start with its first epoch and live until `close`.

    An error in a worker is raised here with its type and the worker's traceback as its text. One epoch at a time: a new one gives up the
    one before.

    Args:
        workers: number of processes; each opens the data set for itself.
        depth: steps fetched ahead by all of them together, at least one by each.
    """

    def __init__(self, workers: int, depth: int) -> None:
        assert workers >= 1
        self._workers, self._depth = workers, depth
        self._order = _Replaceable()
        self._loader: DataLoader[list[Fetched]] | None = None

    def __call__(self, dataset: Source, order: Order) -> Steps:
        """Yield the steps of `order`; the data set must be the same one in every epoch."""
        if self._loader is None:
            self._loader = self._start(dataset)
        held: Any = self._loader.dataset
        assert held.source is dataset
        self._order.now = order
        for step in self._loader:
            assert self._order.now is order, "a newer epoch has begun"
            yield step

    def _start(self, dataset: Source) -> DataLoader[list[Fetched]]:
        return DataLoader(
            _BySteps(dataset),
            batch_size=None,  # an index of the sampler is a whole step
            sampler=self._order,
            collate_fn=_as_it_is,
            num_workers=self._workers,
            prefetch_factor=max(1, -(-self._depth // self._workers)),
            persistent_workers=True,
            multiprocessing_context="spawn",  # a fork of a process with threads may hang
            generator=torch.Generator(),  # else the workers' seeds, which nothing uses, would be drawn from the run's generator
        )

    def close(self) -> None:
        """End the processes; the next epoch would start them anew."""
        loader, self._loader = self._loader, None
        iterator: Any = loader._iterator if loader is not None else None
        if iterator is not None:
            iterator._shutdown_workers()  # there is no public name for it; __del__ calls it too, but when is the collector's choice


class _Replaceable:
    """A sampler that gives the order of the epoch that is now."""

    now: Order = ()

    def __iter__(self) -> Iterator[Sequence[Part]]:
        return iter(self.now)


class _BySteps(Dataset[list[Fetched]]):
    def __init__(self, source: Source) -> None:
        self.source = source

    def __getitem__(self, step: Sequence[Part]) -> list[Fetched]:
        return fetch_step(self.source, step)


def _as_it_is(step: list[Fetched]) -> list[Fetched]:
    return step
