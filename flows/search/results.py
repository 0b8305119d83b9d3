"""What a search found: its journal as one row a trial, and what follows from the rows."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from components.files import atomic_path


@dataclass
class Trial:
    """One configuration that was tried.

    Attributes:
        name: by which the search called it.
        values: `{dotted key: value}`.
        status: finished to its planned end; stopped before it, as not worth its cost; failed; running still.
        reason: why it failed.
        curve: `(step, percent of the planned steps, monitored value, seconds since the search began)`, one a validation.
    """

    name: str
    values: dict[str, Any]
    status: Literal["finished", "stopped", "failed", "running"] = "running"
    reason: str = ""
    curve: list[tuple[int, float, float | None, float]] = field(default_factory=list)

    @property
    def last(self) -> float | None:
        """The monitored value after the last validation."""
        return self.curve[-1][2] if self.curve else None

    def best(self, mode: str) -> float | None:
        """The best monitored value of any validation: the checkpoint that is kept."""
        found = [value for _, _, value, _ in self.curve if value is not None]
        return (max if mode == "max" else min)(found, default=None)


def trials(events: Sequence[Mapping[str, Any]]) -> list[Trial]:
    """Return the trials of a search's journal, in the order in which they began. A trial that was made again is told once."""
    found: dict[str, Trial] = {}
    start = events[0]["at"] if events else 0.0
    for event in events:
        trial = found.setdefault(event["trial"], Trial(event["trial"], dict(event["values"])))
        if event["kind"] == "result":
            trial.curve = [point for point in trial.curve if point[0] < event["step"]]  # it was taken up again before this step
            trial.curve.append((event["step"], event["percent"], event["value"], event["at"] - start))
            trial.status = "running"
        elif event["kind"] == "end":
            trial.status = "finished" if trial.curve and trial.curve[-1][1] >= 100.0 else "stopped"
        else:
            trial.status, trial.reason = "failed", event["reason"]
    return list(found.values())


def winner(rows: Sequence[Trial], mode: str) -> Trial | None:
    """Return the trial with the best value among those that were trained to their end; a training that was cut off has made no promise."""
    judged = [(trial.best(mode), trial) for trial in rows if trial.status == "finished"]
    ranked = [(value, trial) for value, trial in judged if value is not None]
    return (max if mode == "max" else min)(ranked, key=lambda pair: pair[0])[1] if ranked else None


def best_so_far(rows: Sequence[Trial], mode: str) -> list[tuple[float, float]]:
    """Return `(seconds since the search began, best value until then)` whenever it became better."""
    points = sorted((seconds, value) for trial in rows for _, _, value, seconds in trial.curve if value is not None)
    found: list[tuple[float, float]] = []
    for seconds, value in points:
        if not found or (value > found[-1][1] if mode == "max" else value < found[-1][1]):
            found.append((seconds, value))
    return found


def write_csv(rows: Sequence[Trial], mode: str, path: Path) -> None:
    """Write one line a trial: name, status, best and last value, validations, reason, then the values."""
    keys = list(dict.fromkeys(key for trial in rows for key in trial.values))
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["trial", "status", "best", "last", "validations", "reason", *keys])
        for t in rows:
            writer.writerow([t.name, t.status, t.best(mode), t.last, len(t.curve), t.reason, *(t.values.get(k) for k in keys)])
