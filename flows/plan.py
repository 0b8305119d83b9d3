"""`modelyard plan` and `modelyard list`: what would happen and what there is. Runs nothing."""

from __future__ import annotations

import functools
import inspect
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from components.errors import UserError
from components.files import read_json
from components.spec.parse import to_plain
from components.spec.schema import Spec
from components.spec.targets import build, resolve
from flows import stages
from flows.compose import compose, group_choices
from flows.project import project_root
from flows.store import Store

_CURVE_POINTS = 10
_ADAM_COPIES = 4  # weights, two moments and the gradient-free copy that `best` keeps beside `last`: an upper bound for what is written


def plan(overrides: list[str]) -> dict[str, Any]:
    """Return what a command would do: stages with reasons, steps, batch, parameters, learning rates, disk.

    Steps and learning rates need the number of training rows; before the data is prepared they are null.
    """
    root = project_root()
    spec = compose(root, overrides)
    decisions = stages.decide(spec, Store((root / spec.store).resolve()))
    rows = _training_rows(decisions)
    steps = _steps(spec, rows)
    parameters = _parameters(spec)
    return {
        "experiment": spec.experiment,
        "stages": [{"stage": d.stage, "action": "reuse" if d.manifest else "run", "why": d.why} for d in decisions],
        "training_rows": rows,
        "steps": steps,
        "batch": {
            "global": spec.trainer.batch_size,
            "per_worker": math.ceil(spec.trainer.batch_size / spec.cluster.workers),
            "workers": spec.cluster.workers,
        },
        "parameters": parameters,
        "learning_rate": _curve(spec, steps),
        "checkpoint_mib": round(parameters * 4 * _ADAM_COPIES * 2 / 2**20, 2),
        "spec": to_plain(spec),
        "expect": [asdict(e) for e in spec.expect],
    }


def _training_rows(decisions: list[stages.Decision]) -> int | None:
    data = decisions[0].manifest
    if data is None:
        return None
    rows: int = read_json(data.directory / "card.json")["splits"]["train"]["rows"]
    return rows


def _steps(spec: Spec, rows: int | None) -> int | None:
    if rows is None and not spec.trainer.overfit_one_batch:
        return None
    per_epoch = 1 if rows is None or spec.trainer.overfit_one_batch else math.ceil(rows / spec.trainer.batch_size)
    planned = spec.trainer.epochs * per_epoch
    return min(planned, spec.trainer.max_steps or planned)


def _parameters(spec: Spec) -> int:
    """Count parameters on torch's meta device: shapes without memory."""
    import torch

    with torch.device("meta"):
        return sum(p.numel() for p in build(spec.model).parameters())


def _curve(spec: Spec, steps: int | None) -> list[dict[str, float]] | None:
    """The learning rate at evenly spaced steps, the last one included."""
    if steps is None:
        return None
    factor = functools.partial(resolve(spec.schedule.name), total_steps=steps, **spec.schedule.options)
    default = inspect.signature(resolve(spec.optimizer.name)).parameters["lr"].default
    base = float(spec.optimizer.options.get("lr", default))
    points = sorted({round(i * (steps - 1) / (_CURVE_POINTS - 1)) for i in range(_CURVE_POINTS)})
    return [{"step": p, "learning_rate": base * factor(p)} for p in points]


def plan_text(found: dict[str, Any]) -> str:
    """Return the plan for people."""
    lines = [f"experiment {found['experiment']}", "", "stages"]
    lines += [f"  {s['stage']:<9} {s['action']:<6} {s['why']}" for s in found["stages"]]
    batch = found["batch"]
    unknown = "known once the data is prepared"
    lines += [
        "",
        f"training rows  {found['training_rows'] or unknown}",
        f"steps          {found['steps'] or unknown}",
        f"batch          {batch['global']} over {batch['workers']} workers, {batch['per_worker']} each",
        f"parameters     {found['parameters']:,}",
        f"checkpoints    at most {found['checkpoint_mib']} MiB on disk",
        "",
        "learning rate",
        *_curve_text(found["learning_rate"], unknown),
        "",
        "configuration",
        *_flat_lines(found["spec"]),
    ]
    return "\n".join(lines)


def _curve_text(curve: list[dict[str, float]] | None, unknown: str) -> list[str]:
    if curve is None:
        return [f"  {unknown}"]
    top = max(p["learning_rate"] for p in curve) or 1.0
    return [f"  step {p['step']:>7.0f}  {p['learning_rate']:.2e}  {'#' * round(40 * p['learning_rate'] / top)}" for p in curve]


def _flat_lines(value: Any, prefix: str = "") -> list[str]:
    if isinstance(value, dict) and value:
        return [line for key, item in value.items() for line in _flat_lines(item, f"{prefix}.{key}" if prefix else key)]
    return [f"  {prefix} = {value}"]


def experiments() -> list[dict[str, str]]:
    """Return every experiment file: name, default data set, description, source item. A file that does not compose says so."""
    root = project_root()
    return [_experiment(root, name) for name in group_choices(root / "conf", "experiment")]


def _experiment(root: Path, name: str) -> dict[str, str]:
    try:
        spec = compose(root, [f"experiment={name}"])
    except UserError as error:
        return {"experiment": name, "data": "", "description": f"does not compose: {error.what}", "source": ""}
    return {"experiment": name, "data": spec.data.name, "description": spec.description, "source": spec.source}
