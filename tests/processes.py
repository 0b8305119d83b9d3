"""Processes that are there to be found by others."""

from __future__ import annotations

import os
import subprocess
import time
from typing import Any

import psutil


def spawn(command: list[str], **options: Any) -> subprocess.Popen[Any]:
    """Start a process and return it once others can know it by its command line and environment.

    Popen returns while exec is under way, in which a process has neither.
    """
    process, deadline = subprocess.Popen(command, **options), time.monotonic() + 60
    wanted = options.get("env", os.environ)
    while psutil.Process(process.pid).cmdline() != command or not wanted.items() <= psutil.Process(process.pid).environ().items():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return process
