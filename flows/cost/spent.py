"""What the attempts at one stage of a run took, and what of it was wasted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from components.training.journal import read
from flows.attempts import Attempt, Kind
from flows.cost.training import Stretch, stretches
from flows.search.results import trials

SEARCH_JOURNAL = "search.jsonl"  # as flows/adapters/tune.py calls it, which imports more than is wanted here


@dataclass(frozen=True)
class Window:
    """A part of time, seconds since 1970."""

    since: float = -math.inf
    until: float = math.inf

    def overlap(self, begin: float, seconds: float) -> float:
        """Return how many of the seconds from `begin` on lie in it."""
        return max(0.0, seconds - max(0.0, self.since - begin) - max(0.0, begin + seconds - self.until))


ALWAYS = Window()


@dataclass(frozen=True)
class StageCost:
    """One stage of a run, over all attempts that held devices of one kind.

    Attributes:
        kind: what it held: `gpu` or `cpu` (cores).
        attempts: how many.
        seconds: of all attempts, by the clock; of a search, of all its trials.
        device_seconds: the same, times the devices that each held.
        wasted_device_seconds: of these, what no later attempt could build upon, and steps made again.
        lost_steps: of a training, that had to be made again, as far as was journalled.
        untold: attempts that were killed without a word, whose seconds nobody knows.
    """

    stage: str
    kind: Kind
    attempts: int
    seconds: float
    device_seconds: float
    wasted_device_seconds: float
    lost_steps: int = 0
    untold: int = 0


@dataclass(frozen=True)
class TrialCost:
    """One trial of a search."""

    name: str
    status: str
    values: dict[str, Any]
    seconds: float
    device_seconds: float
    wasted_device_seconds: float


C = TypeVar("C", StageCost, TrialCost)


def stage_cost(folder: Path, attempts: Sequence[Attempt], window: Window, alive_until: float | None) -> StageCost:
    """Add up the attempts at a stage.

    Args:
        folder: of the stage's directories, `<store>/stages/<stage>`.
        attempts: at this stage, in order, at least one, of one kind.
        window: what is counted.
        alive_until: the last one goes on, and it is this late now; None where it does not.
    """
    seconds = device_seconds = wasted = 0.0
    lost_steps = untold = 0
    told = {key: _stretches(folder, key) for key in {a.key for a in attempts}}
    for i, attempt in enumerate(attempts):
        later = next((a.at for a in attempts[i + 1 :] if (a.token, a.key) == (attempt.token, attempt.key)), math.inf)
        own = [s for s in told[attempt.key] if s.token == attempt.token and attempt.at <= s.at < later]
        last = i == len(attempts) - 1
        taken = _seconds(attempt, own, alive_until if last else None)
        if taken is None:
            untold += 1
            continue
        goes_on = last and attempt.seconds is None and alive_until is not None
        useless = sum(s.lost for s in own) if attempt.status == "ran" else 0.0 if goes_on else taken - sum(s.kept for s in own)
        share = window.overlap(attempt.at, taken) / taken if taken else 0.0
        seconds += taken * share
        device_seconds += taken * share * attempt.devices
        wasted += min(max(useless, 0.0), taken) * share * attempt.devices
        lost_steps += sum(s.steps for s in own)
    return StageCost(attempts[0].stage, attempts[-1].kind, len(attempts), seconds, device_seconds, wasted, lost_steps, untold)


def _seconds(attempt: Attempt, own: Sequence[Stretch], alive_until: float | None) -> float | None:
    """How long an attempt took; of one without an end, until it was heard of last."""
    if attempt.seconds is not None:
        return attempt.seconds
    heard = max((s.heard for s in own), default=None) if alive_until is None else alive_until
    return None if heard is None else max(0.0, heard - attempt.at)


def place_of(folder: Path, key: str) -> Path:
    """Return where a stage lies, `folder` being `<store>/stages/<stage>`: finished, or as far as it has come."""
    finished = folder / key
    return finished if finished.is_dir() else folder / f"{key}.partial"


def _stretches(folder: Path, key: str) -> list[Stretch]:
    directory = place_of(folder, key)
    return stretches(directory, ended=directory.name == key)


def search_cost(folder: Path, attempts: Sequence[Attempt], window: Window) -> tuple[list[StageCost], list[TrialCost]]:
    """Add up the trials of a search, for each kind of device that its attempts held; while no trial runs, it holds nothing.

    Args:
        folder: `<store>/stages/tune`.
        attempts: at it, in order, at least one.
        window: what is counted.
    """
    newest = attempts[-1]
    directory = place_of(folder, newest.key)
    costs = {a.kind: StageCost("tune", a.kind, sum(b.kind == a.kind for b in attempts), 0.0, 0.0, 0.0) for a in attempts}
    rows = []
    for trial in trials(read(directory / SEARCH_JOURNAL)):
        row = TrialCost(trial.name, trial.status, trial.values, 0.0, 0.0, 0.0)
        useless = 1.0 if trial.status == "failed" else trial.repeated_seconds / trial.seconds if trial.seconds else 0.0
        for begin, end in trial.spans:
            attempt = next((a for a in reversed(attempts) if a.at <= begin), attempts[0])
            seconds = window.overlap(begin, end - begin)
            row = _more(row, seconds, attempt.devices, useless)
            costs[attempt.kind] = _more(costs[attempt.kind], seconds, attempt.devices, useless)
        rows.append(row)
    return list(costs.values()), rows


def _more(cost: C, seconds: float, devices: float, useless: float) -> C:
    """A cost with more seconds on so many devices, of which a part was for nothing."""
    held = seconds * devices
    return replace(
        cost,
        seconds=cost.seconds + seconds,
        device_seconds=cost.device_seconds + held,
        wasted_device_seconds=cost.wasted_device_seconds + held * useless,
    )
