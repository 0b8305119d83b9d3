"""What killed attempts leave: leases, processes, folders, mailboxes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from components.files import write_json
from flows.lease import Lease, this_process
from flows.machine import leases
from tests.flows.machine.conftest import one

HOLD = """
import sys, time
from pathlib import Path
from tests.processes import spawn
from flows.lease import Lease, write_holder
write_holder(Path(sys.argv[2]))
with Lease(Path(sys.argv[1]), print):
    child = spawn(["sleep", "300"], start_new_session=True)
    print(child.pid, flush=True)
    time.sleep(300)
"""


@pytest.fixture
def killed(machine):
    """The machine after an attempt at train/abcd was killed, and the pid of the child that it left running."""
    lease, mailbox = machine.store / "leases" / "train-abcd.json", machine.store / "mailboxes" / "m" / "driver.json"
    command = [sys.executable, "-c", HOLD, str(lease), str(mailbox)]
    holder = subprocess.Popen(command, cwd=Path(__file__).parents[3], stdout=subprocess.PIPE, text=True)
    child = int(holder.stdout.readline())
    holder.kill()
    holder.wait()
    holder.stdout.close()
    yield machine, child
    os.kill(child, 9)


def test_a_killed_attempt_its_child_and_its_mailbox(killed):
    machine, child = killed
    found = leases.leases(machine)
    assert one([found[0]], "warn").found == "killed in the middle: train-abcd"
    assert one(found, "warn", "processes of dead attempts").found == f"still running: {child}"
    one(leases.leftovers(machine), "ok", "mailboxes of dead drivers")
    assert leases.leftovers(machine)[-1].found.startswith("1,")


def test_a_live_attempt_is_no_fault_and_its_folder_is_none_left_over(machine):
    (machine.store / "stages/train/abcd.partial").mkdir(parents=True)
    with Lease(machine.store / "leases" / "train-abcd.json", print):
        assert one([leases.leases(machine)[0]], "ok").found.startswith(f"at work: train-abcd (process {os.getpid()} on ")
        assert one(leases.leftovers(machine), "ok", "interrupted stages").found == "none"
    assert one([leases.leases(machine)[0]], "ok").found == "nobody is at work"
    assert one(leases.leftovers(machine), "ok", "interrupted stages").found == "1 interrupted (0 bytes): train/abcd.partial"


def test_an_attempt_elsewhere_is_dead_when_it_is_silent(machine):
    path = machine.store / "leases" / "train-abcd.json"
    write_json(path, {**asdict(replace(this_process(), place="another machine", token="t")), "beat": 3})
    one([leases.leases(machine)[0]], "ok")
    os.utime(path, (time.time() - 100, time.time() - 100))
    one([leases.leases(machine)[0]], "warn")


def test_old_and_damaged_folders(machine):
    folder = machine.store / "stages" / "train"
    for name in ("aa", "aa.partial", "bb.partial", "cc.damaged-17"):
        (folder / name).mkdir(parents=True)
    (folder / "bb.partial" / "file").write_bytes(bytes(2048))
    os.utime(folder / "bb.partial", (0, 0))
    (folder / "cc.damaged-17" / "file").write_bytes(bytes(600))
    found = leases.leftovers(machine)
    old = one(found, "warn", "interrupted stages")
    assert old.found == "1 interrupted over 7 days ago (2 KiB): train/bb.partial" and str(folder / "bb.partial") in old.mend
    assert one(found, "warn", "damaged stages").found == "1 put aside (600 bytes): train/cc.damaged-17"


def test_ten_thousand_stages_are_no_burden(machine):
    folder = machine.store / "stages" / "train"
    for number in range(2000):
        (folder / f"{number:016x}").mkdir(parents=True)
    started = time.process_time()
    leases.leftovers(machine)
    assert time.process_time() - started < 1.0  # a hundredth of a second; a minute, were each folder looked into
