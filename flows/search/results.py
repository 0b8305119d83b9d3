"""What a search did, read from its journal: one row a trial."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Event = Mapping[str, Any]


class Point(NamedTuple):
    """One validation of a trial.

    Attributes:
        step: after which it was made.
        percent: of the planned steps.
        value: the monitored value; None where it was no finite number.
        seconds: that the trial had run until then, over all attempts.
        at: when, by the clock (unix seconds).
    """

    step: int
    percent: float
    value: float | None
    seconds: float
    at: float


@dataclass
class Trial:
    """One configuration that was tried.

    Attributes:
        name: by which the search called it.
        values: `{dotted key: value}`, the last ones where they changed while it ran.
        status: finished to its end; stopped before it, as not worth its cost; failed; running: nothing was heard of its end.
        reason: why it failed.
        curve: one point a validation, of rising steps.
        spans: when each attempt began and ended, by the clock; one that was killed ends with the last that was heard of it.
        repeated_seconds: that went into steps that had been made before.
        history: `(step, values)` from which the values were so.
        takeovers: `(step, name)` where the trial went on with the weights of another.
        overrides: that the training was last composed with, over those of the search.
        training: the key of its train stage.
    """

    name: str
    values: dict[str, Any]
    status: Literal["finished", "stopped", "failed", "running"] = "running"
    reason: str = ""
    curve: list[Point] = field(default_factory=list)
    spans: list[tuple[float, float]] = field(default_factory=list)
    repeated_seconds: float = 0.0
    history: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    takeovers: list[tuple[int, str]] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)
    training: str = ""

    def __post_init__(self) -> None:
        self.history = self.history or [(0, self.values)]

    @property
    def seconds(self) -> float:
        """How long it ran, over all attempts, without the time between them."""
        return sum(end - begin for begin, end in self.spans)

    @property
    def last(self) -> float | None:
        """The monitored value after the last validation."""
        return self.curve[-1].value if self.curve else None

    def best(self, mode: str, percent: float = math.inf) -> float | None:
        """Return the best monitored value, that of the checkpoint that is kept: weights that were given up for another's do not count.

        Args:
            mode: min or max.
            percent: of the training until which it is asked for.
        """
        since = self.takeovers[-1][0] if self.takeovers else -1
        found = [point.value for point in self.curve if point.value is not None and since < point.step and point.percent <= percent]
        return (max if mode == "max" else min)(found, default=None)


def trials(events: Sequence[Event]) -> list[Trial]:
    """Return the trials of a search's journal, in the order in which they are first told of.

    Args:
        events: `{"kind", "trial", "values", "at", ...}` in order, of the kinds begin (each time that it starts to run), result (with `step`,
            `percent`, `value`, `overrides`, `training`), pause (it gives up its place and may begin again), exploit (it takes over the weights
            that `from` had at `step`), end (with `complete`, where the training ended itself before its last planned step) and error (with `reason`).
    """
    readers: dict[str, _Reader] = {}
    for event in events:
        readers.setdefault(event["trial"], _Reader(event)).take(event)
    return [reader.trial for reader in readers.values()]


class _Reader:
    """Builds one trial from its events."""

    def __init__(self, first: Event) -> None:
        self.trial = Trial(first["trial"], dict(first["values"]))
        self._runs = False
        self._told = -1  # the last step of this attempt
        self._reached = -1  # the last step of all attempts

    def take(self, event: Event) -> None:
        takes = {
            "begin": self._begin,
            "result": self._result,
            "pause": self._leave,
            "exploit": self._exploit,
            "end": self._end,
            "error": self._error,
        }
        takes[event["kind"]](event)
        if event["values"] != self.trial.values:
            self.trial.values = dict(event["values"])
            self.trial.history.append((max(self._reached, 0), self.trial.values))

    def _begin(self, event: Event) -> None:
        self.trial.spans.append((event["at"], event["at"]))
        self.trial.status, self.trial.reason = "running", ""
        self._runs, self._told = True, -1

    def _result(self, event: Event) -> None:
        step, value = event["step"], event["value"]
        if not self._runs or step <= self._told:  # it began anew, and nobody said so
            self._begin(event)
        waited = self._heard(event["at"])
        if step <= self._reached:
            self.trial.repeated_seconds += waited
        value = None if value is None or not math.isfinite(value) else float(value)
        kept = [point for point in self.trial.curve if point.step < step]
        self.trial.curve = [*kept, Point(step, event["percent"], value, self.trial.seconds, event["at"])]
        self._told, self._reached = step, max(step, self._reached)
        self.trial.overrides, self.trial.training = list(event.get("overrides", [])), event.get("training", "")

    def _exploit(self, event: Event) -> None:
        """What lay beyond the step that it goes on from is no part of its training any more."""
        self.trial.curve = [point for point in self.trial.curve if point.step <= event["step"]]
        self.trial.takeovers.append((event["step"], event["from"]))
        self._told, self._reached = -1, event["step"]

    def _leave(self, event: Event) -> None:
        if self._runs:
            self._heard(event["at"])
        self._runs = False

    def _end(self, event: Event) -> None:
        self._leave(event)
        reached = bool(self.trial.curve) and self.trial.curve[-1].percent >= 100.0
        self.trial.status = "finished" if event.get("complete", reached) else "stopped"

    def _error(self, event: Event) -> None:
        self._leave(event)
        self.trial.status, self.trial.reason = "failed", event["reason"]

    def _heard(self, at: float) -> float:
        """Let the attempt last until `at`, and return for how long nothing was heard of it. A clock that was set back counts for nothing."""
        begin, end = self.trial.spans[-1]
        self.trial.spans[-1] = (begin, max(at, end))
        return max(at - end, 0.0)


def winner(rows: Sequence[Trial], mode: str) -> Trial | None:
    """Return the trial with the best value among those that were trained to their end; a training that was cut off has made no promise."""
    return _best([trial for trial in rows if trial.status == "finished"], mode)


def leader(rows: Sequence[Trial], mode: str) -> Trial | None:
    """Return the winner; where the budget ended before any training did, the trial with the best value until then."""
    return winner(rows, mode) or _best(rows, mode)


def _best(rows: Sequence[Trial], mode: str) -> Trial | None:
    judged = [(trial.best(mode), trial) for trial in rows]
    ranked = [(value, trial) for value, trial in judged if value is not None]
    return (max if mode == "max" else min)(ranked, key=lambda pair: pair[0])[1] if ranked else None


def schedule(rows: Sequence[Trial], name: str, until: float = math.inf) -> list[tuple[int, dict[str, Any]]]:
    """Return `(step, values)` from which a trial's weights were trained with these values: before it took them over, with those of the other.

    Args:
        rows: all trials.
        name: of the trial.
        until: the step at which its weights are looked at.
    """
    trial = next(row for row in rows if row.name == name)
    since, donor = next(((step, donor) for step, donor in reversed(trial.takeovers) if step < until), (0, ""))
    before = [values for step, values in trial.history if step <= since]
    later = [(step, values) for step, values in trial.history if since < step < until]
    return [*(schedule(rows, donor, since) if donor else []), (since, before[-1]), *later]
