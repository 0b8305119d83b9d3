"""The stages of a plan: what would run, why, and how long it will take."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from components.spec.schema import Spec
from flows import stages
from flows.predict import predict, rows_of
from flows.store import Store
from flows.units import spell_seconds
from flows.upstream import NEEDED


def stage_rows(spec: Spec, store: Store, decisions: list[stages.Decision]) -> list[dict[str, Any]]:
    """Return a row a stage: stage, action (reuse or run), why, changes, predicted ({seconds, gpu_hours, runs}; null for what is reused)."""
    data = decisions[0].manifest
    rows = None if data is None else rows_of(data)
    found = []
    for d in decisions:
        runs = d.manifest is None
        changes = (d.changes or stages.known_changes(d.stage, spec, store)) if runs else ()
        expected = {**asdict(predict(d.stage, spec, store, rows)), "data": spec.data.name} if runs else None
        row = {"stage": d.stage, "action": "run" if runs else "reuse", "why": d.why, "changes": [asdict(c) for c in changes]}
        found.append({**row, "predicted": expected})
    return found


def upstream_rows(upstream: Spec, spec: Spec, store: Store) -> list[dict[str, Any]]:
    """As `stage_rows`, of a run that another builds on; what they share is told of the other."""
    rows = stage_rows(upstream, store, stages.decide(upstream, store))
    shared = {"data": upstream.data == spec.data, "check": upstream.data == spec.data and upstream.check == spec.check}
    return [row for row in rows if row["stage"] in NEEDED and not shared.get(row["stage"], False)]


def in_all(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the sum of what is known, `{seconds, gpu_hours}`, and the `unknown` stages that it leaves out."""
    expected = [(row["stage"], row["predicted"]) for row in rows if row["predicted"] is not None]
    known = [p for _, p in expected if p["seconds"] is not None]
    return {
        "seconds": round(sum(p["seconds"] for p in known), 3),
        "gpu_hours": sum(p["gpu_hours"] for p in known),
        "unknown": [stage for stage, p in expected if p["seconds"] is None],
    }


def forecast_text(found: dict[str, Any]) -> list[str]:
    """Return a plan's stages, with those of the runs that it builds on, as lines for people."""
    lines = ["stages"]
    for name, rows in found["upstream"].items():
        lines += [f"  upstream {name}", *(f"  {_row_text(row)}" for row in rows)]
    lines += [_row_text(row) for row in found["stages"]]
    total = found["predicted"]
    if all(row["predicted"] is None for row in found["stages"]):
        return [*lines, "", "nothing would run"]
    rest = f"; not counted, since they never ran here: {', '.join(total['unknown'])}" if total["unknown"] else ""
    return [*lines, "", f"in all         {_cost(total)}{rest}"]


def _row_text(row: dict[str, Any]) -> str:
    return f"  {row['stage']:<9} {row['action']:<6} {_predicted(row['predicted']):<40} {row['why']}"


def _predicted(p: dict[str, Any] | None) -> str:
    if p is None:
        return ""
    if p["seconds"] is None:
        return f"unknown: never ran here on {p['data']}"
    return f"{_cost(p)}, told from {p['runs']} run{'s' if p['runs'] > 1 else ''}"


def _cost(p: dict[str, Any]) -> str:
    gpus = f", {p['gpu_hours']:.3g} GPU-hours" if p["gpu_hours"] else ""
    return f"about {spell_seconds(p['seconds'])}{gpus}"
