"""`modelyard runs compare`: what was configured otherwise, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from components.errors import UserError
from flows.runs import Run, read_run
from flows.stages import flat
from flows.store import Store

_ABSENT = "(absent)"


def compare_runs(store: Store, words: Sequence[str]) -> dict[str, Any]:
    """Set two or more runs side by side.

    Returns:
        `runs` (ids); `differences` {key: [a value a run]}, keys of the configuration, of `environment`, `git`, `data` and `code`;
        `metrics` {split/name: {"values": [a number or null a run], "differences": [to the first run's, or null]}}.

    Raises:
        UserError: fewer than two runs, one twice, or a word that fits none or several.
    """
    runs = [read_run(store, word) for word in words]
    if len({run.run_id for run in runs}) < max(2, len(words)):
        raise UserError("there is nothing to compare", received=" ".join(run.run_id for run in runs), expected="two runs or more, each once")
    told = [_told(run) for run in runs]
    keys = sorted({key for one in told for key in one}, key=lambda key: (not key.startswith("config."), key.count("."), key))
    values = {key: [one.get(key, _ABSENT) for one in told] for key in keys}
    measured = [flat(run.record.get("metrics", {}), separator="/") for run in runs]
    return {
        "runs": [run.run_id for run in runs],
        "differences": {key: row for key, row in values.items() if any(value != row[0] for value in row)},
        "metrics": {name: _side_by_side([one.get(name) for one in measured]) for name in dict.fromkeys(name for one in measured for name in one)},
    }


def _told(run: Run) -> dict[str, Any]:
    """What a run was made from, flat."""
    record = run.record
    code = {"commit": (record.get("git") or {}).get("commit"), "patch": record.get("patch_sha256")}
    data = {name: value for name, value in (record.get("data") or {}).items() if name == "content_sha256"}
    return flat({"config": record.get("spec", {}), "data": data, "code": code, "environment": record.get("environment", {})})


def _side_by_side(values: list[Any]) -> dict[str, list[Any]]:
    first = values[0]
    return {"values": values, "differences": [None if first is None or value is None else value - first for value in values]}


def compare_text(found: dict[str, Any]) -> str:
    """Runs side by side for people; the first is what the others are compared with."""
    lines = [f"{_letter(i)}  {run_id}" for i, run_id in enumerate(found["runs"])]
    lines += (
        ["", "differs", *(_difference(key, row) for key, row in found["differences"].items())] if found["differences"] else ["", "configured alike"]
    )
    width = max((len(name) for name in found["metrics"]), default=0)
    lines += ["", "measured"]
    for name, row in found["metrics"].items():
        figures = [f"{_figure(v):>12}" + (f" ({d:+.4g})" if i and d is not None else "") for i, (v, d) in enumerate(zip(*row.values(), strict=True))]
        lines.append(f"  {name:<{width}}  " + "  ".join(figures))
    return "\n".join(lines)


def _difference(key: str, row: list[Any]) -> str:
    return "\n".join([f"  {key.removeprefix('config.')}", *(f"    {_letter(i)}  {value}" for i, value in enumerate(row))])


def _letter(index: int) -> str:
    return chr(ord("A") + index) if index < 26 else str(index)


def _figure(value: Any) -> str:
    return "-" if value is None else f"{value:.6g}"
