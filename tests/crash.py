"""Killing a piece of code at every one of its steps on the file system, one after the other."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator

_STEPS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate"}  # Python's audit events, raised before the act


def crashes(action: Callable[[int], None]) -> Iterator[int]:
    """Run `action(n)` for n = 1, 2 ... in a forked child that is killed (SIGKILL) before its n-th step on the file system.

    Yields each n whose child was killed, for the caller to look at what is left, and ends with the first child that comes through.
    """
    for n in itertools.count(1):
        child = os.fork()
        if child == 0:
            _run_and_die(action, n)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0, "the child failed; its traceback is above"
            assert n > 3, f"only {n - 1} steps were seen: the action does not touch the file system as the test believes"
            return
        assert os.WTERMSIG(status) == signal.SIGKILL
        yield n


def _run_and_die(action: Callable[[int], None], n: int) -> None:
    left = n

    def hook(event: str, _arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event in _STEPS:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    try:
        sys.addaudithook(hook)
        action(n)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
