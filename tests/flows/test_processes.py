"""Ending a process with all of its children, whatever they think of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid

import psutil
import pytest

from flows.processes import MARK, carrying, end_group, end_marked, end_session
from tests.processes import runs, spawn, until

FAMILY = """
import signal, subprocess, sys, time
if {stubborn}:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
code = "import signal, time; {stubborn} and signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(300)"
child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(300)
"""


@pytest.mark.parametrize("stubborn", [False, True])
def test_parent_and_child_are_gone_when_it_returns(stubborn):
    parent = subprocess.Popen([sys.executable, "-c", FAMILY.format(stubborn=stubborn)], stdout=subprocess.PIPE, text=True, start_new_session=True)
    child = int(parent.stdout.readline())
    assert runs(child)
    started, grace_seconds = time.monotonic(), 2.0 if stubborn else 100.0
    end_group(parent, signal.SIGTERM, grace_seconds)
    assert not runs(child) and parent.poll() is not None
    assert time.monotonic() - started < 60  # who obeys is not waited for any longer
    assert parent.returncode == -(signal.SIGKILL if stubborn else signal.SIGTERM)
    end_group(parent, signal.SIGTERM, grace_seconds)  # already gone: nothing to do


def test_a_child_that_outlives_its_parent_is_ended_too():
    code = "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid, flush=True)"
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True)
    child = int(parent.stdout.readline())
    parent.wait()
    assert runs(child) and os.getpgid(child) == parent.pid
    end_group(parent, signal.SIGTERM, grace_seconds=100.0)
    assert not runs(child)


def test_a_session_is_ended_when_its_leader_has_and_not_before():
    code = "import subprocess, sys; print(subprocess.Popen(['sleep', '60'], process_group=0).pid, flush=True); sys.stdin.read()"
    leader = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
    child = int(leader.stdout.readline())
    end_session(leader.pid)
    assert runs(child) and leader.poll() is None
    leader.stdin.close()
    leader.wait()
    assert runs(child)
    end_session(leader.pid)
    assert not runs(child)


def test_a_process_is_known_by_its_environment_even_where_a_title_has_overwritten_a_part_of_it():
    """Ray's workers call themselves `ray::...`; psutil reads their environment as far as the first hole."""
    code = (
        "import ctypes, time; block = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), 'environ');"
        "address = ctypes.cast(block, ctypes.POINTER(ctypes.c_void_p))[0];"
        "ctypes.memset(address, 0, len(block[0])); print('ready', flush=True); time.sleep(60)"
    )
    value = uuid.uuid4().hex
    env = {"A_FIRST": "overwritten", **os.environ, "CHAOS_TEST": value}
    with subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        assert [p.pid for p in carrying("CHAOS_TEST", value)] == [process.pid]
        assert carrying("CHAOS_TEST", value[:-1]) == []
        process.kill()


def test_a_dead_attempts_process_counts_as_ended_though_nobody_reaps_it():
    token = uuid.uuid4().hex
    with spawn([sys.executable, "-c", "import time; time.sleep(60)"], env={**os.environ, MARK: token}) as process:
        end_marked(token)  # raises of a process that does not end
        assert until(lambda: not runs(process.pid)) and psutil.pid_exists(process.pid)
        assert process.wait() == -signal.SIGKILL
