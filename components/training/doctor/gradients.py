"""Where gradients flow: D18 (frozen or unused parameters), D20 (gradient check); notes 002 section 14."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from components.tasks.base import Batch, Phase, Task
from components.training.doctor.finding import Finding, Skipped
from components.training.doctor.patient import Patient, evaluating

_STEPS = 3  # a weight behind one that starts at zero gets its first gradient at the second step
_ROWS = 8
_DIRECTIONS = 5
_TOLERANCE = 1e-4  # relative; a wrong factor is far above it, the difference's own error of order h^2 far below
_SHOWN = 5


def frozen_parameters(patient: Patient) -> Finding:
    """D18: after a few steps every parameter got a gradient and moved, but for those that `parameters.frozen` names."""
    model, task = patient.system()
    stepper, largest = patient.stepper(model, task), dict.fromkeys(model.parameters(), -1.0)
    for optimizer in stepper.optimizers.values():
        optimizer.register_step_pre_hook(lambda optimizer, given, options: _note(optimizer, largest))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    asleep = [name for name, p in model.named_parameters() if not p.requires_grad and not _meant(name, patient.spec.parameters.frozen)]
    awake = [name for name, p in model.named_parameters() if p.requires_grad]
    model.train()
    for step, parts in enumerate(patient.steps(_STEPS)):
        stepper.step(parts, step, 0)
    parameters = dict(model.named_parameters())
    unused = [name for name in awake if largest[parameters[name]] < 0.0]
    dead = [name for name in awake if largest[parameters[name]] == 0.0]
    still = [name for name in awake if name not in unused and torch.equal(before[name], parameters[name])]
    faults = {"no gradient at all": unused, "a gradient of zero": dead, "never moved": still, "frozen, but not by parameters.frozen": asleep}
    return Finding(
        "fail" if unused or still else "warn" if dead or asleep else "ok",
        "; ".join(f"{what}: {_some(names)}" for what, names in faults.items() if names)
        or f"{len(awake)} parameters got a gradient and moved in {_STEPS} steps",
        "a gradient for each parameter, and weights that move",
        "use the layer in `forward` or remove it, look for `detach` and `requires_grad`, and at optimizer.lr",
    )


def _note(optimizer: torch.optim.Optimizer, largest: dict[nn.Parameter, float]) -> None:
    """Keep the largest gradient of each parameter so far; below 0 where there was none at all."""
    for p in (p for group in optimizer.param_groups for p in group["params"] if p.grad is not None):
        largest[p] = max(largest[p], float(p.grad.abs().max()))


def _meant(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def gradient_check(patient: Patient) -> Finding:
    """D20: along random directions v, `(f(w + h v) - f(w - h v)) / 2h` is the gradient's product with v, in float64.

    h = eps^(1/3) (notes 002 L1664) balances the error of the difference, of order h^2, with that of rounding, eps / h. f is the sum of the loss terms
    in evaluation mode.
    """
    model, task = patient.system()
    networks, batch = evaluating(model.double(), task), patient.batch(patient.rows(_ROWS))
    batch = {k: v.double() if v.is_floating_point() else v for k, v in batch.items()}
    for network in networks.values():  # what a task draws itself comes in float32
        network.register_forward_pre_hook(lambda module, given: tuple(_doubled(v) for v in given))
    errors = {phase.name: _difference(patient, task, networks, batch, phase) for phase in task.phases}
    worst = max(errors, key=errors.__getitem__)
    return Finding(
        "ok" if errors[worst] <= _TOLERANCE else "fail",
        f"relative difference {errors[worst]:.1e}" + (f" in phase {worst}" if len(errors) > 1 else ""),
        f"at most {_TOLERANCE:g}",
        "look at functions with a backward of their own, and at `detach` (a stop-gradient that is meant shows here too)",
    )


def _doubled(value: Any) -> Any:
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


def _difference(patient: Patient, task: Task, networks: dict[str, nn.Module], batch: Batch, phase: Phase) -> float:
    """The root of the summed squares of the differences, relative to that of the larger slopes: no single direction with a slope near 0 counts."""
    weights: list[Tensor] = [p for p in networks[phase.network].parameters() if p.requires_grad]

    def total() -> Tensor:
        return torch.stack(list(patient.sums(task, networks, batch, phase).values())).sum()

    try:
        value = total()
    except RuntimeError as error:
        raise Skipped(f"the system does not run in float64: {str(error).splitlines()[0]}") from error
    if value.dtype != torch.float64 or not weights:
        raise Skipped(f"the loss is computed in {value.dtype}" if weights else "nothing is trained")
    gradients = torch.autograd.grad(value, weights, allow_unused=True)
    generator = torch.Generator().manual_seed(patient.spec.seed)
    slopes = [_slopes(total, weights, gradients, generator) for _ in range(_DIRECTIONS)]
    larger = math.hypot(*(max(abs(numeric), abs(analytic)) for numeric, analytic in slopes))
    return math.hypot(*(numeric - analytic for numeric, analytic in slopes)) / max(larger, 1e-12)


@torch.no_grad()
def _slopes(
    total: Callable[[], Tensor], weights: list[Tensor], gradients: Sequence[Tensor | None], generator: torch.Generator
) -> tuple[float, float]:
    """The slope along one random direction of length 1: by central difference, and by the gradients."""
    drawn = [torch.randn(w.shape, generator=generator, dtype=torch.float64).to(w.device) for w in weights]
    length = float(nn.utils.get_total_norm(drawn))
    direction = [d / length for d in drawn]
    h = math.cbrt(torch.finfo(torch.float64).eps)
    torch._foreach_add_(weights, direction, alpha=h)
    above = float(total())
    torch._foreach_add_(weights, direction, alpha=-2 * h)
    below = float(total())
    torch._foreach_add_(weights, direction, alpha=h)
    analytic = math.fsum(float((g * d).sum()) for g, d in zip(gradients, direction, strict=True) if g is not None)
    return (above - below) / (2 * h), analytic
