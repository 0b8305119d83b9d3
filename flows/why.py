"""`modelyard why`: what the last attempt of a run decided about a stage, and every change that made it run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.errors import UserError, nearest
from components.files import read_object
from components.spec.targets import module_source
from flows.runs import Run, last_run, read_run
from flows.stages import SEARCHED, Change
from flows.store import MANIFEST, Store
from flows.units import spell_seconds

_GROUPS = {"config": "configuration", "inputs": "inputs", "code": "code", "environment": "environment"}


def why(store: Store, stage: str, word: str | None) -> dict[str, Any]:
    """Explain what became of a stage.

    Args:
        stage: its name.
        word: a beginning of the run's id; None for the last run.

    Returns:
        `run_id`, `run_status`, `command`, `started`, `stage`, `key`, `status` (ran, reused, running, failed, interrupted or not reached), `seconds`,
        `why`, `changes` {configuration, inputs, code, environment: [{key, before, now}]}, `made` (when and by which run what is there was
        made; null where it is not there), `parts` (of data: what DVC did of fetch and prepare, where it is known).

    Raises:
        UserError: there is no such stage or no such run.
    """
    if stage not in SEARCHED:
        raise UserError(f"unknown stage '{stage}'{nearest(stage, SEARCHED)}", received=stage, expected=f"one of: {', '.join(SEARCHED)}")
    run = read_run(store, last_run(store).name if word is None else word)
    decided = run.decisions.get("stages", {}).get(stage)
    told = {
        "run_id": run.run_id,
        "run_status": run.status,
        "command": run.decisions.get("command", ""),
        "started": run.decisions.get("started", ""),
        "stage": stage,
    }
    if decided is None:
        return {**told, **_not_reached(run)}
    status = "interrupted" if decided["status"] == "running" and not run.goes_on else decided["status"]
    manifest = read_object(store.root / "stages" / stage / decided["key"] / MANIFEST)
    return {
        **told,
        "key": decided["key"],
        "status": status,
        "seconds": decided["seconds"],
        "why": decided["why"],
        "changes": _grouped([Change(**change) for change in decided["changes"]]),
        "made": _made(store, stage, decided["key"], manifest),
        "parts": manifest.get("outputs", {}).get("parts", {}),
    }


def _not_reached(run: Run) -> dict[str, Any]:
    decided = run.decisions.get("stages", {})
    after = f"the run is {run.status}" + (f", {list(decided)[-1]} came last" if decided else "")
    return {"key": None, "status": "not reached", "seconds": 0.0, "why": after, "changes": _grouped([]), "made": None, "parts": {}}


def _grouped(changes: list[Change]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {group: [] for group in _GROUPS.values()}
    for change in changes:
        group, _, key = change.key.partition(".")
        name = _file(key) if group == "code" else key
        found[_GROUPS[group]].append({"key": name, "before": change.before, "now": change.now})
    return found


def _file(module: str) -> str:
    """The file of a module, from the project's folder; of one that is no more, the file that it would be."""
    if module.startswith("templates/"):
        return f"components/reporting/{module}"
    source = module_source(module)
    path = Path(*module.split("."))
    return (path / "__init__.py" if source is not None and source.name == "__init__.py" else path.with_suffix(".py")).as_posix()


def _made(store: Store, stage: str, key: str, manifest: dict[str, Any]) -> dict[str, Any] | None:
    """When and for which run the stage was done that is there now."""
    if not manifest:
        return None
    bodies = [e.body for e in store.ledger.entries() if e.kind == "stage" and (e.body.get("stage"), e.body.get("key")) == (stage, key)]
    run_id = bodies[-1].get("run_id") if bodies else None
    told = read_object(store.root / "runs" / str(run_id) / "run.json").get("stages", {}).get(stage, {})
    return {"at": manifest["created"], "seconds": manifest["seconds"], "run_id": run_id, "why": told.get("why") if told.get("key") == key else None}


def why_text(found: dict[str, Any]) -> str:
    """The explanation for people."""
    lines = [f"run {found['run_id']}: {found['run_status']}", f"  {found['command']}", f"  {found['started']}", ""]
    took = f", {spell_seconds(found['seconds'])}" if found["status"] in ("ran", "failed", "interrupted") else ""
    lines.append(f"{found['stage']}: {found['status']}{took}")
    told = {group: changes for group, changes in found["changes"].items() if changes}
    if not told:
        lines.append(f"  {found['why']}")
    for group, changes in told.items():
        lines += [f"  {group}", *(f"    {c['key']}: {c['before']} -> {c['now']}" for c in changes)]
    if found["parts"]:
        lines.append("  " + "; ".join(f"{part}: {what}" for part, what in found["parts"].items()))
    made = found["made"]
    if made is not None and found["status"] == "reused":
        because = f", because: {made['why']}" if made["why"] not in (None, "unchanged") else ""
        lines.append(f"  made {made['at']} in {spell_seconds(made['seconds'])} by {made['run_id'] or 'a run that is not known'}{because}")
    return "\n".join(lines)
