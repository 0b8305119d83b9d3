"""conf/nightly.yaml: which models are retrained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from components.data.params import read_yaml
from components.errors import UserError, nearest
from components.spec.parse import parse

PLAN = Path("conf") / "nightly.yaml"


@dataclass(frozen=True)
class NightlySpec:
    """The content of conf/nightly.yaml."""

    models: dict[str, tuple[str, ...]]  # a model's name -> overrides, as `modelyard run` takes them


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
    if not plan.models:
        raise UserError(f"{PLAN} names no model", expected="such as `models: {digits: [experiment=cnn/lenet5]}`")
    return plan


def chosen(plan: NightlySpec, models: Sequence[str]) -> dict[str, list[str]]:
    """Return the overrides of the models that are asked for, of all where none is named.

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
    return {model: list(overrides) for model, overrides in plan.models.items() if not models or model in models}
