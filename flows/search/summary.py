"""trials.json: everything that a search found, as the report's page and other programs read it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from components.spec.schema import TuneSpec
from components.spec.space import Range, parse_space
from flows.search.cost import best_so_far, wall_seconds, work_seconds
from flows.search.importance import common_percent, importance
from flows.search.results import Trial, schedule, winner

_SECONDS_OF_AN_HOUR = 3600.0


def summarize(tune: TuneSpec, metric: str, mode: str, rows: Sequence[Trial], gpus: float = 0.0) -> dict[str, Any]:
    """Return a search as plain data.

    Args:
        tune: what was searched.
        metric, mode: what for.
        rows: its trials.
        gpus: that each trial had while it ran.

    Returns:
        `metric`, `mode`, `algorithm`; `space`, `{key: {kind, ticks}}`, its ticks as (place, value); `trials`; `winner`, its name or None;
        `schedule`, the values that the winner's weights were trained with, a list of {step, values} from which they held; `importance`,
        `{key: share}`, by the values until `importance_percent` of the training; `best_so_far`, a list of {seconds, wall_seconds, value,
        trial}; and the cost: `seconds` of all trials together, `wall_seconds` by the clock while a trial ran, `gpus`, `gpu_hours`, and
        `wasted_seconds` = `failed_seconds` of trials that failed + `repeated_seconds` of steps that others had to make again. What was
        stopped early is not waste but the price of not training it to its end.

        A trial holds `name`, `status`, `reason`, `values`, `positions` (each value's place in [0, 1] of its range), `curve`, a list of
        (step, percent, value, seconds of the trial), `best`, `seconds`, `repeated_seconds`, `history` and `takeovers` (results.py).
    """
    space = _listed(tune) if tune.algorithm == "list" else parse_space(tune.space)
    best = winner(rows, mode)
    seconds, failed = work_seconds(rows), work_seconds([row for row in rows if row.status == "failed"])
    repeated = sum(row.repeated_seconds for row in rows if row.status != "failed")
    return {
        "metric": metric,
        "mode": mode,
        "algorithm": tune.algorithm,
        "space": {key: {"kind": span.kind, "ticks": _ticks(span)} for key, span in space.items()},
        "trials": [_plain(row, space, mode) for row in rows],
        "winner": None if best is None else best.name,
        "schedule": [] if best is None else _steps(schedule(rows, best.name)),
        "importance": {} if tune.algorithm == "list" else importance(rows, space, mode, tune.seed),  # a list is no sample of a space
        "importance_percent": common_percent(rows),
        "best_so_far": [better._asdict() for better in best_so_far(rows, mode)],
        "seconds": seconds,
        "wall_seconds": wall_seconds(rows),
        "gpus": gpus,
        "gpu_hours": seconds * gpus / _SECONDS_OF_AN_HOUR,
        "failed_seconds": failed,
        "repeated_seconds": repeated,
        "wasted_seconds": failed + repeated,
    }


def _listed(tune: TuneSpec) -> dict[str, Range]:
    """The space of a list: each key's values, in their order, as choices."""
    found: dict[str, list[Any]] = {}
    for values in tune.configurations:
        for key, value in values.items():
            if value not in found.setdefault(key, []):  # a list has no hash
                found[key].append(value)
    return {key: Range("choice", tuple(values)) for key, values in found.items()}


def _ticks(span: Range) -> list[list[Any]]:
    """Where in [0, 1] of a range its choices lie, or its ends and its middle, which tells how it is spread."""
    values = span.values if span.kind == "choice" else dict.fromkeys(span.at(place) for place in (0.0, 0.5, 1.0))
    return [[span.position(value), value] for value in values]


def _plain(row: Trial, space: dict[str, Range], mode: str) -> dict[str, Any]:
    places = {key: span.place(row.values[key]) for key, span in space.items() if key in row.values}
    return {
        "name": row.name,
        "status": row.status,
        "reason": row.reason,
        "values": row.values,
        "positions": {key: place for key, place in places.items() if place is not None},
        "curve": [list(point[:4]) for point in row.curve],
        "best": row.best(mode),
        "seconds": row.seconds,
        "repeated_seconds": row.repeated_seconds,
        "history": _steps(row.history),
        "takeovers": [{"step": step, "from": name} for step, name in row.takeovers],
    }


def _steps(history: Sequence[tuple[int, dict[str, Any]]]) -> list[dict[str, Any]]:
    return [{"step": step, "values": values} for step, values in history]
