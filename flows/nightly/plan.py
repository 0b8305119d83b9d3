"""conf/nightly.yaml: which models are retrained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from components.data.params import read_yaml
from components.drift.spec import DriftSpec
from components.errors import UserError, nearest
from components.spec.parse import parse
from components.spec.schema import at_least

PLAN = Path("conf") / "nightly.yaml"


@dataclass(frozen=True)
class NightlySpec:
    """The content of conf/nightly.yaml."""

    models: dict[str, tuple[str, ...]]  # a model's name -> overrides, as `modelyard run` takes them
    overrides: tuple[str, ...] = ()  # of every model; its own come after them
    gpu_hours: float | None = at_least(0.0, None)  # of one night; a model whose turn comes when they are spent is left for the next
    drift: DriftSpec = field(default_factory=DriftSpec)  # when `modelyard drift` asks for retraining
    drift_pause_hours: float = at_least(0.0, 12.0)  # between two requests for the same model


def read_plan(root: Path) -> NightlySpec:
    """Read the plan of a project.

    Raises:
        UserError: there is none, or it is not as it must be.
    """
    path = root / PLAN
    if not path.is_file():
        raise UserError("nothing says what to retrain", received=path, expected="a file with `models: {name: [override, ...]}`")
    try:
        plain = read_yaml(path)
    except yaml.YAMLError as error:
        raise UserError(f"{PLAN} is no YAML: {error}") from error
    plan = parse(NightlySpec, plain, "nightly")
    for model, overrides in plan.models.items():
        if own := [override for override in overrides if override.startswith("store=")]:
            raise UserError(f"{PLAN} gives {model} a store of its own", received=own[0], expected="one store for all: under `overrides:`, or none")
    if not plan.models:
        raise UserError(f"{PLAN} names no model", expected="such as `models: {digits: [experiment=cnn/lenet5]}`")
    return plan


def chosen(plan: NightlySpec, models: Sequence[str]) -> dict[str, list[str]]:
    """Return the overrides of the models that are asked for, of all where none is named: those of every model, then its own.

    Raises:
        UserError: one is not in the plan.
    """
    for model in models:
        if model not in plan.models:
            raise UserError(
                f"no model '{model}' is retrained{nearest(model, plan.models)}",
                received=model,
                expected=f"one of: {', '.join(plan.models)}",
                mend=f"add it to {PLAN}",
            )
    return {model: [*plan.overrides, *overrides] for model, overrides in plan.models.items() if not models or model in models}
