"""Contenders in turn, a fraction of a second each, so that a busy moment of the machine meets all of them alike.

Each contender is a process that trains and stops at a gate every so many steps: there it tells how long these steps took, and waits for its next
turn. Ratios of sums over many turns are steady to a per cent or two, where whole runs, one after the other, differ by a quarter.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

_MARK = "gate: "  # libraries print too


class Gate:
    """In a contender: called once a step.

    Args:
        chunk_steps: between two stops.
    """

    def __init__(self, chunk_steps: int) -> None:
        self._chunk_steps, self._ticks = chunk_steps, 0
        self._base_gib, self._opened = anonymous_gib(), 0.0

    def tick(self) -> None:
        """A step begins, or has ended; which of the two is all the same, if it is always the same one."""
        if self._ticks % self._chunk_steps == 0:
            seconds = time.perf_counter() - self._opened
            print(f"{_MARK}{json.dumps({'seconds': seconds, 'memory_gib': peak_anonymous_gib() - self._base_gib})}", flush=True)
            sys.stdin.readline()
            self._opened = time.perf_counter()
        self._ticks += 1


def read(line: str) -> dict[str, float] | None:
    """What a contender told, or None for a line of somebody else's."""
    if not line.startswith(_MARK):
        return None
    told: dict[str, float] = json.loads(line.removeprefix(_MARK))
    return told


def _status() -> dict[str, int]:
    """Linux's account of this process's memory, in KiB."""
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) for words in lines if words[-1] == "kB"}


def anonymous_gib() -> float:
    """Memory of this process now that is no file's: what it has allocated. Pages of libraries and of mapped data are files'."""
    return _status()["RssAnon"] / 2**20


def peak_anonymous_gib() -> float:
    """The most of it ever, if the files' part has not shrunk since."""
    status = _status()
    return (status["VmHWM"] - status["RssFile"] - status["RssShmem"]) / 2**20
