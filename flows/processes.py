"""Ending the processes that we started, with all of theirs."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from components.errors import RunError

MARK = "MODELYARD_ATTEMPT"  # in the environment of everything that an attempt starts: the attempt's token (flows/lease.py)
_POLL_SECONDS = 0.02
_KILL_SECONDS = 10.0


def end_group(process: subprocess.Popen[bytes] | subprocess.Popen[str], first: signal.Signals, grace_seconds: float) -> None:
    """End a process that leads a group of its own, and wait until the group is gone.

    Args:
        process: started with `start_new_session=True`.
        first: the signal that lets it clean up, sent to the whole group; SIGKILL follows.
        grace_seconds: after each of the two.
    """
    for number in (first, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + grace_seconds
        while time.monotonic() < deadline:
            process.poll()
            if not _alive(process.pid):
                return
            time.sleep(_POLL_SECONDS)


def end_session(leader: int) -> None:
    """End what is left of a session whose leader has ended, wherever in groups of their own: Ray's processes are.

    Args:
        leader: the pid of a process that was started with `start_new_session=True`.

    Raises:
        RunError: one does not end.
    """
    _end(lambda: [] if start_ticks(leader) is not None else _session(leader))  # a leader that runs is another one, given the same number


def _session(leader: int) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (OSError, psutil.Error):
            continue
    return found


def _alive(group: int) -> bool:
    """Tell whether a process group has a member that still runs (one that waits to be reaped does not)."""
    for member in psutil.process_iter():
        try:
            if os.getpgid(member.pid) == group and member.status() != psutil.STATUS_ZOMBIE:
                return True
        except (ProcessLookupError, psutil.Error):
            continue
    return False


def start_ticks(pid: int) -> int | None:
    """Return when a process was started, in ticks since the machine was (a clock that is set back does not move it); None when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
    else:
        fields = text.rpartition(")")[2].split()  # the name before may hold spaces
        return None if fields[0] in "ZX" else int(fields[19])
    try:
        return int(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return None


def marked(*tokens: str, mark: str = MARK) -> list[psutil.Process]:
    """Return the processes of this machine that some attempts started, or what else sets a mark; this one and those above it left out."""
    own = {os.getpid(), *(p.pid for p in psutil.Process().parents())}
    return [process for process in carrying(mark, *tokens) if process.pid not in own]


def carrying(name: str, *values: str) -> list[psutil.Process]:
    """Return the running processes of this machine that were started with a variable of one of these values in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if _carries(process, name, values) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def _carries(process: psutil.Process, name: str, values: tuple[str, ...]) -> bool:
    """Look at the raw block: Ray's workers set their titles, which leaves holes in it, and psutil reads as far as the first."""
    if not Path("/proc/self/environ").exists():
        return process.environ().get(name) in values
    wanted = {f"{name}={value}".encode() for value in values}
    return not wanted.isdisjoint(Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0"))


def end_marked(token: str, mark: str = MARK) -> None:
    """End every process that a dead attempt has left on this machine, or what else sets a mark, and those that they start meanwhile.

    Raises:
        RunError: one does not end.
    """
    _end(lambda: marked(token, mark))


def _end(find: Callable[[], list[psutil.Process]]) -> None:
    deadline, found_none = time.monotonic() + _KILL_SECONDS, 0
    while found_none < 2:  # twice: in the middle of an exec a process has no environment to be known by
        left = find()  # looked for, not waited for: in a container whose first process reaps nobody the dead stay as zombies
        found_none = 0 if left else found_none + 1
        if left and time.monotonic() > deadline:
            raise RunError(f"processes that should be dead cannot be ended: {[p.pid for p in left]}; end them, then run the same command again")
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        time.sleep(_POLL_SECONDS)
