"""A clock that was set back, that leaps, and a disk with a clock of its own."""

from __future__ import annotations

import os
import time
from dataclasses import replace

import pytest

from components.training.doctor.finding import Skipped
from flows.ledger import Ledger
from flows.machine import clock
from tests.flows.machine.conftest import one


def late(machine, seconds):
    """The machine with its clock that much behind."""
    return replace(machine, wall=lambda: time.time() - seconds, opened=(time.time() - seconds, time.monotonic()))


def test_a_store_without_times_says_nothing(machine):
    with pytest.raises(Skipped):
        clock.set_back(machine)


def test_a_clock_before_the_newest_entry_was_set_back(machine):
    for number in range(3):
        Ledger(machine.store).append("run", {"padding": "x" * 40_000, "number": number})
    one(clock.set_back(machine), "ok")
    finding = one(clock.set_back(late(machine, 3 * 3600)), "warn")
    assert "is from 3.0 h ahead of now" in finding.found
    one(clock.leap(late(machine, 3600)), "ok")  # it goes evenly, only late


def test_a_file_of_the_future_tells_it_too(machine):
    lease = machine.store / "leases" / "train-1234.json"
    lease.parent.mkdir(parents=True)
    lease.write_text("{}")
    os.utime(lease, (time.time() + 600, time.time() + 600))
    assert "train-1234.json is from 10 min ahead" in one(clock.set_back(machine), "warn").found


def test_a_disk_with_another_clock(machine):
    one(clock.disks_clock(machine), "ok")
    assert "60 s ahead" in one(clock.disks_clock(late(machine, 60)), "warn").found
    assert "60 s behind" in one(clock.disks_clock(late(machine, -60)), "warn").found


def test_a_leap_while_we_look(machine):
    one(clock.leap(machine), "ok")
    assert "1.0" not in clock.leap(machine).found
    assert "leapt 100 s ahead" in one(clock.leap(replace(machine, wall=lambda: time.time() + 100)), "warn").found
    assert "leapt 100 s back" in one(clock.leap(replace(machine, wall=lambda: time.time() - 100)), "warn").found
