"""Did the run do what its experiment file expects of it?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from components.reporting.run import Run
from components.reporting.text import number


@dataclass(frozen=True)
class Expectation:
    """One line of the experiment's `expect`, beside what was measured.

    Attributes:
        metric: `split/name`.
        bound: the bounds as text, "at least 0.97".
        value: what was measured, None when it was not.
        met: whether the value lies within the bounds; a value that was not measured does not.
    """

    metric: str
    bound: str
    value: float | None
    met: bool


@dataclass(frozen=True)
class Verdict:
    """The run in one word and one sentence.

    Attributes:
        state: "met", "missed", "failed" (a stage failed) or "open" (nothing was expected).
        sentence: the same for people.
        expectations: every expectation, in the order of the experiment file.
    """

    state: str
    sentence: str
    expectations: tuple[Expectation, ...]


def judge(run: Run) -> Verdict:
    """Compare a run's metrics with the `expect` list of its specification: [{metric, minimum and/or maximum}]."""
    expectations = tuple(_expectation(run, wish) for wish in run.spec.get("expect") or [])
    failed = [name for name, stage in run.stages.items() if stage.get("status") == "failed"]
    met = sum(expectation.met for expectation in expectations)
    if failed:
        return Verdict("failed", f"Failed in stage {failed[0]}", expectations)
    if not expectations:
        return Verdict("open", "Nothing was expected of this run", ())
    if met == len(expectations):
        return Verdict("met", f"{met} of {met} expectations met", expectations)
    return Verdict("missed", f"{len(expectations) - met} of {len(expectations)} expectations missed", expectations)


def scalars(run: Run) -> dict[str, dict[str, float]]:
    """Return the metrics that are single numbers, `{name: {split: value}}`, in the order in which the evaluation gave them."""
    table: dict[str, dict[str, float]] = {}
    for split, values in run.metrics.items():
        for name, value in values.items():
            if isinstance(value, int | float):
                table.setdefault(name, {})[split] = value
    return table


def _expectation(run: Run, wish: dict[str, Any]) -> Expectation:
    split, _, name = wish["metric"].partition("/")
    value = scalars(run).get(name, {}).get(split)
    minimum, maximum = wish.get("minimum"), wish.get("maximum")
    met = value is not None and (minimum is None or value >= minimum) and (maximum is None or value <= maximum)
    bounds = [f"{word} {number(bound)}" for word, bound in (("at least", minimum), ("at most", maximum)) if bound is not None]
    return Expectation(wish["metric"], " and ".join(bounds), value, met)
