"""A group of worker processes that stays up for the whole session: importing torch once a worker, not once a test."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from components.errors import RunError, UserError
from components.training.session import LocalSession
from tests.forked import context

Work = Callable[..., Any]  # a top-level function (session, *arguments) -> plain data
_MEETINGS = 3
_NOBODY = "did not find the others"


class Group:
    """Runs a function on the first `world` of its processes, joined by gloo; with a world of one, without torch.distributed."""

    def __init__(self, size: int, directory: Path) -> None:
        self._size, self._directory, self._calls = size, directory, 0
        self._start()

    def _start(self) -> None:
        pairs = [context().Pipe() for _ in range(self._size)]
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
        for _ in range(_MEETINGS):
            answers = self._ask(world, work, arguments)
            if answers is not None:
                break
            self.close()  # the others wait for the one that did not come
            self._start()
        assert answers is not None, f"{world} ranks do not find each other"
        for error, trace, _ in answers:
            if isinstance(error, (UserError, RunError)):
                raise error
            assert error is None, trace
        return [value for _, _, value in answers]

    def _ask(self, world: int, work: Work, arguments: tuple[Any, ...]) -> list[Any] | None:
        """Return the answer of each rank; None when one of them did not find the others: gloo's handshake fails one time in thousands."""
        self._calls += 1
        store = str(self._directory / f"rendezvous_{self._calls}")
        for rank, end in enumerate(self._ends[:world]):
            end.send((rank, world, store, work, arguments))
        answers: dict[Connection, Any] = {}
        while missing := [end for end in self._ends[:world] if end not in answers]:
            told = wait(missing, 100)
            assert told, f"{work.__name__} hangs on {world} ranks"
            answers |= {end: end.recv() for end in told if isinstance(end, Connection)}
            if _NOBODY in answers.values():
                return None
        return [answers[end] for end in self._ends[:world]]

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.join()


def _serve(end: Connection) -> None:
    torch.set_num_threads(1)
    while True:
        rank, world, store, work, arguments = end.recv()
        if world > 1:
            try:
                dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
            except RuntimeError:
                end.send(_NOBODY)
                return
        try:
            end.send((None, "", work(LocalSession(), *arguments)))
        except Exception as error:
            told = error if isinstance(error, (UserError, RunError)) else repr(error)
            end.send((told, traceback.format_exc(), None))
        finally:
            if world > 1:
                dist.destroy_process_group()
