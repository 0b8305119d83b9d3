"""Reading metrics.jsonl: what training wrote while it ran, whole or torn."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Record = dict[str, Any]


@dataclass(frozen=True)
class Journal:
    """The records of a run by kind, in order of step.

    Attributes:
        steps: one record a logged step.
        epochs: one record an epoch.
        events: whatever else was worth a line.
        skipped: how many lines could not be read.
    """

    steps: tuple[Record, ...]
    epochs: tuple[Record, ...]
    events: tuple[Record, ...]
    skipped: int


def read_journal(path: Path) -> Journal:
    """Read metrics.jsonl.

    A line that is no record is counted and passed over: a killed run tears its last line, and when it is resumed the torn line stands in
    the middle. A resumed run makes the steps since its checkpoint again; of two records of one step the later one counts.

    Raises:
        FileNotFoundError: there is no such file.
    """
    kinds: dict[str, dict[int, Record]] = {"step": {}, "epoch": {}}
    events, skipped = [], 0
    for line in path.read_bytes().splitlines():
        record = _record(line)
        if record is None:
            skipped += bool(line.strip())
        elif record["kind"] in kinds:
            kinds[record["kind"]][record["step"]] = record
        else:
            events.append(record)
    steps, epochs = (tuple(records[step] for step in sorted(records)) for records in kinds.values())
    return Journal(steps, epochs, tuple(events), skipped)


def points(records: tuple[Record, ...], name: str) -> tuple[list[float], list[float]]:
    """Return (steps, values) of one quantity; records without it, or with a non-finite value, leave a gap."""
    pairs = [(record["step"], record[name]) for record in records if _is_finite(record.get(name))]
    return [float(step) for step, _ in pairs], [float(value) for _, value in pairs]


def thinned(x: list[float], y: list[float], most: int = 400) -> tuple[list[float], list[float]]:
    """Return at most `most` points: each the mean over an equal stretch of the curve. Short curves come back as they are."""
    size = math.ceil(len(x) / most)
    if size <= 1:
        return x, y
    cuts = range(0, len(x), size)
    return [_mean(x[i : i + size]) for i in cuts], [_mean(y[i : i + size]) for i in cuts]


def _record(line: bytes) -> Record | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    if not isinstance(record, dict) or not isinstance(record.get("kind"), str) or not isinstance(record.get("step"), int):
        return None
    return record


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)
