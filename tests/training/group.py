"""A group of worker processes that stays up for the whole session: importing torch once a worker, not once a test."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from components.errors import RunError, UserError
from components.training.session import LocalSession
from tests.forked import context

Work = Callable[..., Any]  # a top-level function (session, *arguments) -> plain data


class Group:
    """Runs a function on the first `world` of its processes, joined by gloo; with a world of one, without torch.distributed."""

    def __init__(self, size: int, directory: Path) -> None:
        self._directory, self._calls = directory, 0
        pairs = [context().Pipe() for _ in range(size)]
        self._ends = [near for near, _ in pairs]
        self._processes = [context().Process(target=_serve, args=(far,), daemon=True) for _, far in pairs]
        for process in self._processes:
            process.start()

    def run(self, world: int, work: Work, *arguments: Any) -> list[Any]:
        """Return what each rank returned.

        Raises:
            UserError, RunError: what rank 0 raised.
            AssertionError: any other error of any rank, with its traceback.
        """
        self._calls += 1
        store = str(self._directory / f"rendezvous_{self._calls}")
        for rank, end in enumerate(self._ends[:world]):
            end.send((rank, world, store, work, arguments))
        for end in self._ends[:world]:
            assert end.poll(100), f"{work.__name__} hangs on {world} ranks"
        answers = [end.recv() for end in self._ends[:world]]
        for error, trace, _ in answers:
            if isinstance(error, (UserError, RunError)):
                raise error
            assert error is None, trace
        return [value for _, _, value in answers]

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.join()


def _serve(end: Connection) -> None:
    torch.set_num_threads(1)
    while True:
        rank, world, store, work, arguments = end.recv()
        if world > 1:
            dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
        try:
            end.send((None, "", work(LocalSession(), *arguments)))
        except Exception as error:
            told = error if isinstance(error, (UserError, RunError)) else repr(error)
            end.send((told, traceback.format_exc(), None))
        finally:
            if world > 1:
                dist.destroy_process_group()
