"""The clock. No decision of ours compares two clocks, but people, certificates, make and DVC do."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from components.training.doctor.finding import Finding, Skipped
from flows.ledger import Ledger
from flows.machine.disk import existing
from flows.machine.machine import Machine

_SLACK_SECONDS = 5.0  # entries are written to the second; clocks of one cluster differ by less
_LEAP_SECONDS = 1.0
_TAIL_BYTES = 1 << 16
_MEND = "set the clock (`timedatectl set-ntp true`), or wait until it has caught up"


def set_back(machine: Machine) -> Finding:
    """Nothing that this store knows of happened later than now."""
    times = dict(_times(machine.store))
    if not times:
        raise Skipped("the store holds nothing yet")
    newest = max(times, key=times.__getitem__)
    ahead = times[newest] - machine.wall()
    return Finding(
        "warn" if ahead > _SLACK_SECONDS else "ok",
        f"{newest} is from {_span(ahead)} ahead of now" if ahead > _SLACK_SECONDS else "nothing in the store is from later than now",
        "a clock that goes on: one that was set back gives records the wrong order for people, and certificates that are not valid yet",
        _MEND,
    )


def _times(store: Path) -> Iterator[tuple[str, float]]:
    """When things happened, in seconds since 1970: the ledger's last entries, and the files that every run writes."""
    ledger = Ledger(store)
    try:
        start = max(0, ledger.path.stat().st_size - _TAIL_BYTES)
    except OSError:
        start = None
    if start is not None:
        for entry in ledger.entries(start):
            yield f"entry {entry.number} of the ledger", datetime.fromisoformat(entry.at).timestamp()
    for path in (ledger.path, store / "last" / "run.json", *(store / "leases").glob("*.json")):
        try:
            yield path.name, path.stat().st_mtime
        except OSError:
            continue


def disks_clock(machine: Machine) -> Finding:
    """The store's disk, which may be another machine's, gives files our time."""
    try:
        with tempfile.TemporaryFile(dir=existing(machine.store)) as probe:
            probe.write(b"x")
            probe.flush()
            difference = os.fstat(probe.fileno()).st_mtime - machine.wall()
    except OSError as error:
        raise Skipped("the store cannot be written") from error
    apart = abs(difference) > _SLACK_SECONDS
    return Finding(
        "warn" if apart else "ok",
        f"the store's disk is {_span(difference)} {'ahead' if difference > 0 else 'behind'}" if apart else "as this machine's",
        "one time for both: what tells new files from old by their time is misled",
        "let both machines ask one time server",
    )


def leap(machine: Machine) -> Finding:
    """While we looked, the clock that can be set went as fast as the one that cannot."""
    wall, steady = machine.opened
    difference = (machine.wall() - wall) - (time.monotonic() - steady)
    leapt = abs(difference) > _LEAP_SECONDS
    return Finding(
        "warn" if leapt else "ok",
        f"it leapt {_span(difference)} {'ahead' if difference > 0 else 'back'} while we looked" if leapt else "it runs evenly",
        "a clock that runs evenly: timestamps of one run would be hours apart",
        _MEND,
    )


def _span(seconds: float) -> str:
    seconds = abs(seconds)
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
