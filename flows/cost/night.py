"""What all runs of a store cost since a moment: one night."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime

from components.errors import UserError
from flows.attempts import Kind
from flows.cost.cost import Cost, Money, attempts_of, cost_of
from flows.cost.prices import Prices
from flows.cost.spent import Window
from flows.runs import Run, read_runs
from flows.store import Store

_UNITS = {"m": 60.0, "h": 3600.0, "d": 86400.0}
_SECONDS_OF_AN_HOUR = 3600.0


@dataclass(frozen=True)
class NightCost:
    """A row a run that held anything since then, and what they cost together."""

    since: str
    rows: tuple[Cost, ...]

    def device_seconds(self, kind: Kind) -> float:
        return sum(row.device_seconds(kind) for row in self.rows)

    def wasted_device_seconds(self, kind: Kind) -> float:
        return sum(row.wasted_device_seconds(kind) for row in self.rows)

    @property
    def money(self) -> Money:
        """The sum; null where one row's is not known."""
        unknown = next((row.money for row in self.rows if row.money.amount is None), None)
        if unknown is not None:
            return unknown
        if not self.rows:
            return Money(0.0, 0.0, None)
        amounts = [(row.money.amount or 0.0, row.money.wasted or 0.0) for row in self.rows]
        last = self.rows[-1].money
        return Money(sum(a for a, _ in amounts), sum(w for _, w in amounts), last.currency, last.why)


def night(store: Store, since: datetime, prices: Prices | None = None) -> NightCost:
    """Add up what every run of a store has cost since a moment; of an attempt that began before, the part that lies after it.

    A search's trials are counted with it; what was removed from the store (`modelyard gc`, `runs rm`) is counted nowhere.

    Args:
        since: with its time zone.
    """
    assert since.tzinfo is not None, "a moment without a time zone is none"
    window = Window(since.timestamp(), time.time())
    runs = read_runs(store)
    searching = {run.run_id for run in runs if _searches(run)}
    costs = [cost_of(store, run, prices, window) for run in runs if run.part_of not in searching and _worked_since(run, window)]
    return NightCost(since.isoformat(timespec="seconds"), tuple(c for c in costs if any(s.seconds or s.untold for s in c.stages)))


def remaining(store: Store, since: datetime, gpu_hours: float) -> float:
    """Return how many of so many GPU-hours are left, at least none, after what all runs have held since a moment."""
    return max(0.0, gpu_hours - night(store, since).device_seconds("gpu") / _SECONDS_OF_AN_HOUR)


def parse_since(word: str) -> float:
    """Return the seconds of `90m`, `24h` or `7d`.

    Raises:
        UserError: it is no such length.
    """
    number, unit = word[:-1], _UNITS.get(word[-1:])
    try:
        seconds = float(number) * (unit or float("nan"))
    except ValueError:
        seconds = float("nan")
    if not 0.0 < seconds < float("inf"):
        raise UserError("this is no length of time", received=f"--since {word}", expected="a number of minutes, hours or days: 90m, 24h, 7d")
    return seconds


def _searches(run: Run) -> bool:
    return any(a.stage == "tune" for a in attempts_of(run, None))


def _worked_since(run: Run, window: Window) -> bool:
    """Whether an attempt may lie in the window; one without an end may."""
    return any(a.seconds is None or window.overlap(a.at, a.seconds) > 0.0 for a in attempts_of(run, None))
