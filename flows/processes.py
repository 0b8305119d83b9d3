"""Ending the processes that we started, with all of theirs."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import psutil

_POLL_SECONDS = 0.02


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


def _alive(group: int) -> bool:
    """Tell whether a process group has a member that still runs (one that waits to be reaped does not)."""
    for member in psutil.process_iter():
        try:
            if os.getpgid(member.pid) == group and member.status() != psutil.STATUS_ZOMBIE:
                return True
        except (ProcessLookupError, psutil.Error):
            continue
    return False
