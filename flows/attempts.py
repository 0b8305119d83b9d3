"""`<store>/runs/<run_id>/attempts.jsonl`: each time that a stage was worked on for a run, and how that ended. run.json tells of the last time alone.

    {"kind": "begin", "stage": "train", "key": "...", "attempt": "<token>", "at": 1763766000.0, "devices": 4.0, "device_kind": "gpu"}
    {"kind": "end", "attempt": "<token>", "status": "ran", "seconds": 61.2, ...}

What was killed has no end; how long a training of it lived, its own journal tells (flows/cost/training.py).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from components.spec.schema import Spec
from components.training.journal import Journal, read

ATTEMPTS = "attempts.jsonl"
_ON_WORKERS = ("train", "evaluate")
Kind = Literal["gpu", "cpu"]


@dataclass(frozen=True)
class Attempt:
    """One time that a stage was worked on.

    Attributes:
        token: of who worked; its training's journal has it too.
        at: when it began, seconds since 1970.
        kind, devices: what it held: GPUs or CPU cores, and how many; for `tune`, what each trial held.
        seconds: that it took; None where nobody wrote down its end.
        status: ran, failed or interrupted; None likewise.
    """

    stage: str
    key: str
    token: str | None
    at: float
    kind: Kind
    devices: float
    seconds: float | None = None
    status: str | None = None


def held_by(stage: str, spec: Spec | None) -> tuple[Kind, float]:
    """Return what a stage holds while it runs, `(kind, devices)`; the driver, which does the rest, counts as one core, and so does the unknown."""
    if spec is None:
        return "cpu", 1.0
    if stage == "tune" and spec.tune is not None:
        return spec.cluster.device_kind, spec.cluster.devices / spec.cluster.workers * spec.tune.workers
    return (spec.cluster.device_kind, spec.cluster.devices) if stage in _ON_WORKERS else ("cpu", 1.0)


@contextmanager
def attempted(directory: Path, stage: str, key: str, token: str, spec: Spec) -> Iterator[None]:
    """Write down that a stage is worked on, and how it ended."""
    kind, devices = held_by(stage, spec)
    who = {"stage": stage, "key": key, "attempt": token}
    began, status = time.time(), "failed"
    with closing(Journal(directory / ATTEMPTS)) as journal:
        journal.write("begin", **who, at=began, device_kind=kind, devices=devices)
        try:
            yield
            status = "ran"
        except KeyboardInterrupt:
            status = "interrupted"
            raise
        finally:
            journal.write("end", **who, status=status, seconds=round(max(0.0, time.time() - began), 3))


def read_attempts(directory: Path) -> list[Attempt]:
    """Return the attempts of the run in a directory, in order; none of a run of a modelyard that did not write them down."""
    found: list[Attempt] = []
    for record in read(directory / ATTEMPTS):
        if record["kind"] == "begin":
            found.append(_begun(record))
            continue
        open_ones = (i for i, a in enumerate(found) if a.seconds is None and (a.token, a.key) == (record["attempt"], record["key"]))
        if (place := max(open_ones, default=None)) is not None:
            found[place] = Attempt(**{**vars(found[place]), "seconds": record["seconds"], "status": record["status"]})
    return found


def _begun(record: dict[str, Any]) -> Attempt:
    return Attempt(record["stage"], record["key"], record["attempt"], record["at"], record["device_kind"], record["devices"])
