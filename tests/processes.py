"""Processes that are there to be found by others."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from typing import Any

import psutil


def spawn(command: list[str], **options: Any) -> subprocess.Popen[Any]:
    """Start a process and return it once others can know it by its command line and environment.

    Popen returns while exec is under way, in which a process has neither.
    """
    process, wanted = subprocess.Popen(command, **options), options.get("env", os.environ)
    known = psutil.Process(process.pid)
    assert until(lambda: known.cmdline() == command and wanted.items() <= known.environ().items())
    return process


def runs(pid: int) -> bool:
    """Tell whether a process is there and has not ended; one that nobody has waited for has."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def until(condition: Callable[[], Any], seconds: float = 100.0, pause_seconds: float = 0.01) -> Any:
    """Ask again and again until a condition holds, and return what it gave; its last answer, a false one, when it has not held for so long.

    What another process or thread does takes as long as the machine is busy, and what a kernel tells of a process may come later than its end.
    """
    deadline = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(pause_seconds)
    return found
