"""`modelyard runs list` and `show`."""

from __future__ import annotations

from typing import Any

from components.errors import UserError, nearest
from flows.housekeeping.removal import tree_bytes
from flows.runs import Run, read_run, read_runs
from flows.store import Store
from flows.units import spell_bytes, spell_seconds


def list_runs(store: Store, experiment: str | None) -> list[dict[str, Any]]:
    """Return a row a run, in the order in which they were started.

    Args:
        experiment: only those of it, or of the family that it names; None for all.

    Raises:
        UserError: no run is of that experiment.
    """
    runs = read_runs(store)
    chosen = [r for r in runs if experiment is None or r.experiment == experiment or r.experiment.partition("/")[0] == experiment]
    if experiment is not None and not chosen:
        known = sorted({r.experiment for r in runs})
        raise UserError(
            f"no run of {experiment} in this store{nearest(experiment, known)}", received=experiment, expected=f"one of: {', '.join(known)}"
        )
    sizes: dict[tuple[str, str], int] = {}
    return [_row(store, run, sizes) for run in chosen]


def show_run(store: Store, word: str) -> dict[str, Any]:
    """Return all that is written down of the run whose id begins with a word, with the row of `list_runs`, and where its stages are.

    Raises:
        UserError: there is no such run.
    """
    run = read_run(store, word)
    folders = {name: store.root / "stages" / ("train" if name.startswith("upstream.") else name) / key for name, key in run.stages.items()}
    there = {name: str(folder) if folder.is_dir() else None for name, folder in folders.items()}
    return {**run.record, **_row(store, run, {}), "directory": str(run.directory), "directories": there}


def _row(store: Store, run: Run, sizes: dict[tuple[str, str], int]) -> dict[str, Any]:
    """`bytes` counts what the run needs, shared with others or not; `seconds` what its stages took when they ran for it."""
    for stage in run.needs - sizes.keys():
        folder = store.root / "stages" / stage[0]
        sizes[stage] = sum(tree_bytes(path) for path in (folder / stage[1], folder / f"{stage[1]}.partial"))
    metric, value = _key_metric(run)
    return {
        "run_id": run.run_id,
        "experiment": run.experiment,
        "status": run.status,
        "started": run.started,
        "seconds": round(sum(stage["seconds"] for stage in run.record.get("stages", {}).values()), 3),
        "metric": metric,
        "value": value,
        "bytes": tree_bytes(run.directory) + sum(sizes[stage] for stage in run.needs),
        "pinned": run.pinned,
    }


def _key_metric(run: Run) -> tuple[str | None, float | None]:
    """What the run's own configuration says it is judged by: the first expectation, else the monitor (as flows/catalogue.py)."""
    spec = run.record.get("spec", {})
    expected = spec.get("expect") or [spec.get("trainer", {}).get("monitor", {})]
    metric = expected[0].get("metric")
    split, _, name = str(metric).partition("/")
    return metric, run.record.get("metrics", {}).get(split, {}).get(name)


def list_text(rows: list[dict[str, Any]]) -> str:
    """The runs as a table for people."""
    if not rows:
        return "no run in this store"
    width = max(len(row["run_id"]) for row in rows)
    head = f"{'run':<{width}}  {'status':<11}  {'started':<16}  {'took':>12}  {'size':>10}  judged by"
    return "\n".join([head, *(_line(row, width) for row in rows)])


def _line(row: dict[str, Any], width: int) -> str:
    judged = "" if row["value"] is None else f"{row['metric']} {row['value']:.4g}"
    date = row["started"][:16].replace("T", " ")
    pinned = "  pinned" if row["pinned"] else ""
    took, size = spell_seconds(row["seconds"]), spell_bytes(row["bytes"])
    return f"{row['run_id']:<{width}}  {row['status']:<11}  {date:<16}  {took:>12}  {size:>10}  {judged}{pinned}".rstrip()


def show_text(found: dict[str, Any]) -> str:
    """One run for people."""
    git = found.get("git") or {}
    code = f"{git.get('commit') or 'no commit'}{' and changes of its own (uncommitted.patch)' if git.get('dirty') else ''}"
    lines = [
        f"run {found['run_id']}: {found['status']}{', pinned' if found['pinned'] else ''}",
        f"  experiment  {found['experiment']}",
        f"  command     {found.get('command', '')}",
        f"  started     {found['started']}",
        f"  took        {spell_seconds(found['seconds'])}",
        f"  size        {spell_bytes(found['bytes'])}",
        f"  code        {code}",
        f"  data        {(found.get('data') or {}).get('content_sha256', 'not prepared')}",
        f"  checkpoint  {found.get('checkpoint_sha256') or 'none'}",
        "",
    ]
    for name, stage in found.get("stages", {}).items():
        where = found["directories"][name] or "removed"
        lines.append(f"  {name:<9} {stage['status']:<11} {spell_seconds(stage['seconds']):>12}  {where}")
    for split, metrics in found.get("metrics", {}).items():
        lines += ["", f"  {split}", *(f"    {name:<32} {value:.6g}" for name, value in metrics.items())]
    return "\n".join(lines)
