"""Runs a command, and ends it with all that it started when whoever asked for it is gone: `python -m flows.guard COMMAND ...`.

DVC starts its stages as children; killed, it would leave them writing (and so would a driver that is killed leave DVC).
The guard must lead a process group of its own.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

_POLL_SECONDS = 0.2


def main(command: list[str]) -> int:
    """Run the command and return its exit code; whatever is left of its process group is ended."""
    signal.signal(signal.SIGINT, lambda *_: None)  # the command gets it too, and decides; a handler is not inherited, ignoring would be
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    code = subprocess.Popen(command).wait()
    sys.stdout.flush()
    _end_others()
    return code if code >= 0 else 128 - code


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_POLL_SECONDS)
    os.killpg(0, signal.SIGKILL)


def _end_others() -> None:
    """End the rest of this process's group."""
    import psutil

    group = os.getpgrp()
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and os.getpgid(process.pid) == group:
                process.kill()
        except (ProcessLookupError, psutil.Error):
            continue


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
