"""Ending a process with all of its children, whatever they think of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from flows.processes import end_group

FAMILY = """
import signal, subprocess, sys, time
if {stubborn}:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
code = "import signal, time; {stubborn} and signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
child = subprocess.Popen([sys.executable, "-c", code])
time.sleep(0.3)
print(child.pid, flush=True)
time.sleep(60)
"""


def runs(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("stubborn", [False, True])
def test_parent_and_child_are_gone_when_it_returns(stubborn):
    parent = subprocess.Popen([sys.executable, "-c", FAMILY.format(stubborn=stubborn)], stdout=subprocess.PIPE, text=True, start_new_session=True)
    child = int(parent.stdout.readline())
    assert runs(child)
    started = time.monotonic()
    end_group(parent, signal.SIGTERM, grace_seconds=0.5)
    assert not runs(child) and parent.poll() is not None
    assert time.monotonic() - started < (10 if stubborn else 5)
    assert parent.returncode == -(signal.SIGKILL if stubborn else signal.SIGTERM)
    end_group(parent, signal.SIGTERM, grace_seconds=0.5)  # already gone: nothing to do


def test_a_child_that_outlives_its_parent_is_ended_too():
    code = "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid, flush=True)"
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True)
    child = int(parent.stdout.readline())
    parent.wait()
    assert runs(child) and os.getpgid(child) == parent.pid
    end_group(parent, signal.SIGTERM, grace_seconds=1.0)
    assert not runs(child)
