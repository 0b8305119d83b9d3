"""`modelyard plan`: what would happen. Runs nothing."""

from __future__ import annotations

import inspect
import math
from dataclasses import asdict
from typing import Any

from components.data.card import Card, load_card
from components.optim.schedules import bind
from components.spec.parse import to_plain
from components.spec.schema import Spec
from components.spec.targets import build, resolve
from components.training.lengths import Lengths, lengths
from flows import stages
from flows.compose import compose
from flows.folds import fold_values, single_overrides
from flows.forecast import forecast_text, in_all, stage_rows, upstream_rows
from flows.project import project_root
from flows.search.best import best_of
from flows.search.values import overrides_of
from flows.store import Store
from flows.upstream import finished, upstream_specs

_CURVE_POINTS = 10
_ADAM_COPIES = 4  # weights, two moments and the gradient-free copy that `best` keeps beside `latest`: an upper bound for what is written


def plan(overrides: list[str]) -> dict[str, Any]:
    """Return what a command would do: stages with reasons, steps, batch, parameters, learning rates, disk.

    Steps and learning rates need the number of training rows, and some models the shape of a row; before the data is prepared they are null.
    Of `folds` it is the first one's run.
    A stage that runs has what changed (`changes`; of one after another that runs, what is known of it so far) and the time that it will take.
    """
    root = project_root()
    spec = compose(root, overrides)
    folds = spec.folds
    if folds is not None:
        overrides = [*single_overrides(root, overrides), *overrides_of(fold_values(spec)[0])]
        spec = compose(root, overrides)
    store = Store((root / spec.store).resolve())
    upstream = finished(root, spec, store)
    decisions = stages.decide(spec, store, upstream, lambda manifest: best_of(root, overrides, manifest))
    card = _card(decisions)
    builds_on = {name: upstream_rows(other, spec, store) for name, other in upstream_specs(root, spec).items() if name not in upstream}
    told = stage_rows(spec, store, decisions)
    rows = None if card is None else card.splits["train"].rows
    planned = None if rows is None and not spec.trainer.overfit_one_batch else lengths(spec.trainer, rows or spec.trainer.batch_size)
    parameters = _parameters(spec, card)
    return {
        "experiment": spec.experiment,
        "folds": folds,
        "stages": told,
        "upstream": builds_on,
        "predicted": in_all([row for rows in (*builds_on.values(), told) for row in rows]),
        "training_rows": rows,
        "steps": None if planned is None else planned.total,
        "batch": {
            "global": spec.trainer.batch_size,
            "per_worker": math.ceil(spec.trainer.batch_size / spec.cluster.workers / spec.trainer.accumulate),
            "workers": spec.cluster.workers,
            "micro_batches": spec.trainer.accumulate,
        },
        "parameters": parameters,
        "learning_rate": None if planned is None else _curve(spec, planned),
        "checkpoint_mib": None if parameters is None else round(parameters * 4 * _ADAM_COPIES * 2 / 2**20, 2),
        "spec": to_plain(spec),
        "expect": [asdict(e) for e in spec.expect],
    }


def _card(decisions: list[stages.Decision]) -> Card | None:
    data = decisions[0].manifest
    return None if data is None else load_card(data.directory)


def _parameters(spec: Spec, card: Card | None) -> int | None:
    """Count parameters on torch's meta device: shapes without memory. None for a model that waits for the data's shape."""
    import torch
    from torch import nn

    if card is None and "input_shape" in inspect.signature(resolve(spec.model.name)).parameters:
        return None
    inputs = None if card is None else card.columns.get("inputs")
    with torch.device("meta"):
        model: nn.Module = build(spec.model, input_shape=None if inputs is None else inputs.shape)
        return sum(p.numel() for p in model.parameters())


def _curve(spec: Spec, planned: Lengths) -> list[dict[str, float]]:
    """The learning rate at evenly spaced steps, the last one included."""
    factor = bind(spec.schedule, planned.epoch, planned.total)
    default = inspect.signature(resolve(spec.optimizer.name)).parameters["lr"].default
    base = float(spec.optimizer.options.get("lr", default))
    points = sorted({round(i * (planned.total - 1) / (_CURVE_POINTS - 1)) for i in range(_CURVE_POINTS)})
    return [{"step": p, "learning_rate": base * factor(p)} for p in points]


def plan_text(found: dict[str, Any]) -> str:
    """Return the plan for people."""
    lines = [f"experiment {found['experiment']}", "", *_folds_text(found["folds"]), *forecast_text(found)]
    batch = found["batch"]
    unknown = "known once the data is prepared"
    lines += [
        "",
        f"training rows  {found['training_rows'] or unknown}",
        f"steps          {found['steps'] or unknown}",
        f"batch          {batch['global']} over {batch['workers']} workers x {batch['micro_batches']} micro-batches, {batch['per_worker']} each",
        f"parameters     {unknown if found['parameters'] is None else format(found['parameters'], ',')}",
        f"checkpoints    at most {found['checkpoint_mib'] or '?'} MiB on disk",
        "",
        "learning rate",
        *_curve_text(found["learning_rate"], unknown),
        "",
        "configuration",
        *_flat_lines(found["spec"]),
    ]
    return "\n".join(lines)


def _folds_text(folds: int | None) -> list[str]:
    return [] if folds is None else [f"one of {folds} folds, the first; each is a run of its own", ""]


def _curve_text(curve: list[dict[str, float]] | None, unknown: str) -> list[str]:
    if curve is None:
        return [f"  {unknown}"]
    top = max(p["learning_rate"] for p in curve) or 1.0
    return [f"  step {p['step']:>7.0f}  {p['learning_rate']:.2e}  {'#' * round(40 * p['learning_rate'] / top)}" for p in curve]


def _flat_lines(value: Any, prefix: str = "") -> list[str]:
    if isinstance(value, dict) and value:
        return [line for key, item in value.items() for line in _flat_lines(item, f"{prefix}.{key}" if prefix else key)]
    return [f"  {prefix} = {value}"]
