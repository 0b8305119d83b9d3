"""trials.json: everything that a search found, as the report's page and other programs read it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from components.spec.schema import TuneSpec
from components.spec.space import Range, parse_space
from flows.search.importance import importance
from flows.search.results import Trial, best_so_far, winner


def summarize(tune: TuneSpec, metric: str, mode: str, rows: Sequence[Trial]) -> dict[str, Any]:
    """Return `metric`, `mode`, `algorithm`, `keys`, `trials`, `winner` (its name or null), `importance`, `best_so_far`, `seconds`, `wasted_seconds`.

    A trial holds `name`, `status`, `reason`, `values`, `positions` (each value's place in [0, 1] of its range), `curve`, `best`, `seconds`. Wasted
    is the time of trials that failed; what was stopped early is not waste but the price of not training it to its end.
    """
    space = parse_space(tune.space) if tune.algorithm != "list" else _listed(tune)
    best = winner(rows, mode)
    plain = [_plain(row, space, mode) for row in rows]
    return {
        "metric": metric,
        "mode": mode,
        "algorithm": tune.algorithm,
        "keys": list(space),
        "trials": plain,
        "winner": None if best is None else best.name,
        "importance": importance(rows, space, mode, tune.seed) if tune.algorithm != "list" else {},
        "best_so_far": best_so_far(rows, mode),
        "seconds": sum(row["seconds"] for row in plain),
        "wasted_seconds": sum(row["seconds"] for row in plain if row["status"] == "failed"),
    }


def _listed(tune: TuneSpec) -> dict[str, Range]:
    """The space of a list: each key's values, in their order, as choices."""
    keys = dict.fromkeys(key for values in tune.configurations for key in values)
    return {key: Range("choice", tuple(dict.fromkeys(values[key] for values in tune.configurations if key in values))) for key in keys}


def _plain(row: Trial, space: dict[str, Range], mode: str) -> dict[str, Any]:
    positions = {key: space[key].position(row.values[key]) for key in space if key in row.values}
    seconds = row.curve[-1][3] - row.curve[0][3] if row.curve else 0.0
    return {
        "name": row.name,
        "status": row.status,
        "reason": row.reason,
        "values": row.values,
        "positions": positions,
        "curve": row.curve,
        "best": row.best(mode),
        "seconds": seconds,
    }
