"""A search's trials as CSV, for spreadsheets and data frames."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from components.files import atomic_path
from flows.search.results import Trial


def write_trials(rows: Sequence[Trial], mode: str, path: Path) -> None:
    """Write one line a trial: how it ended, its best and last value, its cost, then a column for each key that was varied."""
    keys = list(dict.fromkeys(key for trial in rows for key in trial.values))
    header = ["trial", "status", "best", "last", "validations", "seconds", "repeated_seconds", "reason", *keys]
    lines = (
        [t.name, t.status, t.best(mode), t.last, len(t.curve), t.seconds, t.repeated_seconds, t.reason, *(t.values.get(key) for key in keys)]
        for t in rows
    )
    _write(path, header, lines)


def write_curves(rows: Sequence[Trial], path: Path) -> None:
    """Write one line a validation of a trial."""
    _write(path, ["trial", "step", "percent", "value", "seconds"], ([trial.name, *point[:4]] for trial in rows for point in trial.curve))


def _write(path: Path, header: list[str], lines: Iterable[list[Any]]) -> None:
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows(lines)
