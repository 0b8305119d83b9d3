"""Seconds from the start of the job to the end of its first step, in a process that is warm: a new training, and one resumed at 90 % of an epoch.

    python -m benchmarks.training.resume

LeNet-5, an epoch of 2,000 steps of 32 rows, and ResNet-20, 200 steps. Fresh: data opened, model built, a step made. Resumed: also a checkpoint
verified and loaded, and the epoch's order entered in its middle. Nothing is replayed, so the place in the epoch must not matter: a checkpoint after
the first step is timed too. The watch is off: it looks at some first steps and not at others. Aim: resumed at most 1.2 times fresh.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.record import publish
from benchmarks.training.systems import SYSTEMS, System, plain_spec, write_data
from components.errors import Interrupted
from components.training.jobs import JOBS
from components.training.notices import Notice
from components.training.session import LocalSession

EPOCH_STEPS = {"lenet5": 2_000, "resnet20": 200}
BATCH = 32


@dataclass
class Leaving(LocalSession):
    """A session that asks to leave in its `steps`-th step, and knows when that step began or ended: it is asked at each step's start."""

    steps: int = 1
    begun: list[float] = field(default_factory=list)

    def notice(self) -> Notice:
        self.begun.append(time.perf_counter())
        return Notice.STOP if len(self.begun) >= self.steps else Notice.NONE


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training.resume", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    systems = [replace(SYSTEMS[name], batch_size=BATCH, rows=steps * BATCH) for name, steps in EPOCH_STEPS.items()]
    found = {system.title: measure(system, repeats) for system in systems}
    rows = [row for title, rounds in found.items() for row in table(title, rounds)]
    publish("training_resume", rows, {"steps of the epoch": EPOCH_STEPS, "repeats": repeats, "rounds": found})


def table(title: str, rounds: list[dict[str, float]]) -> list[dict[str, Any]]:
    """Return one row a start: the median seconds, and the ratio to a fresh start of the same round."""
    rows = []
    for name in rounds[0]:
        pairs = [r[name] / r["fresh"] for r in rounds]
        median = statistics.median(r[name] for r in rounds)
        rows.append(
            {"system": title, "start": name, "seconds": median, "ratio": statistics.median(pairs), "least": min(pairs), "greatest": max(pairs)}
        )
    return rows


def measure(system: System, repeats: int) -> list[dict[str, float]]:
    """Return so many rounds of {how it starts: seconds to the end of the first step}."""
    epoch = system.rows // system.batch_size
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        data = write_data(system, root / "data")
        places = {"resumed at 0.1 %": root / "early", "resumed at 90 %": root / "late"}
        for place, steps in zip(places.values(), (1, epoch * 9 // 10), strict=True):
            _train(system, data, place, steps)
        first_step(system, data, root / "warm")  # imports, allocations
        starts: dict[str, Callable[[Path], object]] = {"fresh": Path.mkdir}
        starts |= {name: lambda to, place=place: shutil.copytree(place, to) for name, place in places.items()}  # type: ignore[misc]
        rounds = []
        for i in range(repeats):
            found = {}
            for name in list(starts)[:: 1 if i % 2 == 0 else -1]:
                directory = root / f"{i}-{name}"
                starts[name](directory)
                found[name] = first_step(system, data, directory)
            rounds.append({name: found[name] for name in starts})
        return rounds


def first_step(system: System, data: Path, directory: Path) -> float:
    """Return the seconds from the job's start to the end of its first step, which is when the second one begins."""
    started = time.perf_counter()
    return _train(system, data, directory, 2)[1] - started


def _train(system: System, data: Path, directory: Path, steps: int) -> list[float]:
    """Make so many steps, save, and return when each began."""
    session = Leaving(steps=steps)
    spec = plain_spec(system, 4 * system.rows // system.batch_size, watch={"every_steps": 0})
    try:
        JOBS["train"](session, {"spec": spec, "data": str(data), "directory": str(directory)})
    except Interrupted:
        return session.begun
    raise AssertionError("it went on to the end")


if __name__ == "__main__":
    main()
