"""Who works on a stage now: a file with a heartbeat. A new attempt waits for a live one and takes over from a dead one, never beside it.

An attempt is one process. It is alive when it is on this machine and runs, or elsewhere and its file still changes, watched by our own clock:
no two clocks are compared, so none that is set back does harm. What a dead attempt has left running on this machine is ended before its place
is taken; what it has left on another finds our token in the file and stops (components/training/ownership.py).
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from components.files import digest, read_json, write_json
from components.training.ownership import Ownership
from flows.exclusive import exclusive, replace_json
from flows.processes import MARK, end_marked, start_ticks

BEAT_SECONDS = 5.0
LOST_SECONDS = 60.0  # without a beat, after which an attempt on another machine is given up
_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Holder:
    """A process among all processes of all machines."""

    token: str  # its mark, which everything that it starts inherits
    place: str  # the machine since it was last started, and the name space of the pid
    host: str
    pid: int
    started: int  # pids are given again


def this_process() -> Holder:
    """Return this process as a holder of leases."""
    place, pid = _place(), os.getpid()
    started = start_ticks(pid)
    assert started is not None, "this process runs"
    return Holder(digest([place, pid, started]), place, socket.gethostname(), pid, started)


def mark_this_process() -> str:
    """Mark what this process starts from now on as its own, and return the mark."""
    token = this_process().token
    os.environ[MARK] = token
    return token


def runs_here(holder: Holder) -> bool | None:
    """Tell whether a holder is alive; None when it is on another machine and cannot be asked."""
    if holder.place != _place():
        return None
    return start_ticks(holder.pid) == holder.started


class Lease:
    """The right to work on something, held for a `with` block.

    Args:
        path: the lease's file.
        on_wait: called once with a sentence when another attempt holds it.
        lost_seconds: after which the silence of another machine's attempt counts as its death.
        told: what else the file says, for others to read.
    """

    def __init__(self, path: Path, on_wait: Callable[[str], None], lost_seconds: float = LOST_SECONDS, told: Mapping[str, Any] | None = None) -> None:
        self.path, self._on_wait, self._lost_seconds = path, on_wait, lost_seconds
        self._told = dict(told or {})
        self._lock = path.parent / ".lock"
        self._holder = this_process()
        self._beat = 0
        self._ended = threading.Event()
        self._heart = threading.Thread(target=self._keep_beating, daemon=True)

    @property
    def ownership(self) -> Ownership:
        """What our workers check before they write."""
        return Ownership(self.path, self._holder.token)

    def __enter__(self) -> Lease:
        mark_this_process()
        before = self._acquire()
        if before is not None and runs_here(before) is False and before.token != self._holder.token:
            end_marked(before.token)
        self._heart.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._heart.join()
        with exclusive(self._lock):
            if self._is_ours():
                self.path.unlink()

    def tell(self, **more: Any) -> None:
        """Have the file say more.

        Raises:
            RunError: the lease is lost.
        """
        with exclusive(self._lock):
            self.ownership.require()
            self._told |= more
            self._write()

    def _acquire(self) -> Holder | None:
        """Wait until nobody alive holds the lease, take it, and return the dead holder from whom it was taken, if any."""
        told, seen, since = False, "", time.monotonic()
        while True:
            with exclusive(self._lock):
                text = _text(self.path)
                holder = _holder(text)
                if text != seen:
                    seen, since = text, time.monotonic()
                if not text or self._is_dead(holder, time.monotonic() - since):
                    self._write()
                    return holder
            if not told:
                self._on_wait(_waiting(self.path.stem, holder))
                told = True
            time.sleep(_POLL_SECONDS)

    def _is_dead(self, holder: Holder | None, silent_seconds: float) -> bool:
        alive = None if holder is None else runs_here(holder)
        return not alive if alive is not None else silent_seconds > self._lost_seconds

    def _keep_beating(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            with exclusive(self._lock):
                if not self._is_ours():  # we slept for longer than others wait: what we write next is refused
                    return
                self._beat += 1
                self._write()

    def _is_ours(self) -> bool:
        holder = _holder(_text(self.path))
        return holder is not None and holder.token == self._holder.token

    def _write(self) -> None:
        replace_json(self.path, {**self._told, **asdict(self._holder), "beat": self._beat})


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


def _holder(text: str) -> Holder | None:
    """The holder that a lease's text names; None when it names none (no file, or no lease's text)."""
    try:
        plain = json.loads(text)
        return Holder(**{k: plain[k] for k in Holder.__dataclass_fields__})
    except (ValueError, KeyError, TypeError):
        return None


def _waiting(name: str, holder: Holder | None) -> str:
    who = "somebody" if holder is None else f"process {holder.pid} on {holder.host}"
    return f"{who} is running {name}; waiting for it"


def read_holder(path: Path) -> Holder | None:
    """Return who holds a lease, alive or dead; None when nobody does."""
    return _holder(_text(path))


def remove_dead(path: Path) -> None:
    """Remove the lease of an attempt of this machine that was killed when its work was done."""
    if not path.exists():
        return
    with exclusive(path.parent / ".lock"):
        holder = read_holder(path)
        if holder is not None and runs_here(holder) is False:
            path.unlink()


def write_holder(path: Path) -> None:
    """Write down that this process owns something beside which the file lies."""
    write_json(path, asdict(this_process()))


def is_dead(path: Path) -> bool:
    """Tell whether what a file of write_holder names is a process of this machine that is gone."""
    try:
        return runs_here(Holder(**read_json(path))) is False
    except (OSError, ValueError, TypeError):
        return False


def _place() -> str:
    """This machine since it was last started, and the name space in which pids count."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}:{Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # no Linux: a machine that is started again is told by the start of its processes
        return socket.gethostname()
