"""What a search cost, and what had been found at which cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from flows.search.results import Trial


class Improvement(NamedTuple):
    """A better value than any before.

    Attributes:
        seconds: that all trials together had run until then.
        wall_seconds: for which at least one had run.
        value: the monitored value.
        trial: whose it was.
    """

    seconds: float
    wall_seconds: float
    value: float
    trial: str


def work_seconds(rows: Sequence[Trial], until: float = math.inf) -> float:
    """Return how long all trials together had run at a time of the clock."""
    return sum(max(min(end, until) - begin, 0.0) for trial in rows for begin, end in trial.spans)


def wall_seconds(rows: Sequence[Trial], until: float = math.inf) -> float:
    """Return for how long at least one trial had run at a time of the clock: a search that is taken up again a week later did not last a week."""
    total, covered = 0.0, -math.inf
    for begin, end in sorted(span for trial in rows for span in trial.spans):
        total += max(min(end, until) - max(begin, covered), 0.0)
        covered = max(covered, end)
    return total


def best_so_far(rows: Sequence[Trial], mode: str) -> list[Improvement]:
    """Return each validation that was better than all before it, of the trials that can be chosen: those that were trained to their end."""
    points = sorted(
        (point.at, point.value, trial.name) for trial in rows if trial.status == "finished" for point in trial.curve if point.value is not None
    )
    found: list[Improvement] = []
    for at, value, name in points:
        if not found or (value > found[-1].value if mode == "max" else value < found[-1].value):
            found.append(Improvement(work_seconds(rows, at), wall_seconds(rows, at), value, name))
    return found
