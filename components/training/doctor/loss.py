"""What the loss promises: D16 (its contract), D17 (terms of one magnitude); notes 002 section 14, erratum E15."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor, nn

from components.tasks.base import Batch, Task
from components.training.doctor.finding import Finding, Skipped
from components.training.doctor.patient import Patient, evaluating

_ROWS = 8
_TOLERANCE = 1e-3  # relative, of float32 sums
_PROPER = (0.5, 2.0)  # of the sum of exp(-loss) over the classes; smoothing and weights move it away from 1
_MAX_RATIO = 100.0


def contract(patient: Patient) -> Finding:
    """D16: each loss term is one finite number with a graph, its keys are those of `counts`, and both are SUMS over samples."""
    model, task = patient.system()
    networks, rows = evaluating(model, task), patient.rows(_ROWS)
    batches = [patient.batch(chosen) for chosen in (rows, rows[: len(rows) // 2], rows[len(rows) // 2 :])]
    wrong: list[str] = []
    odd: list[str] = []
    for phase in task.phases:
        sums = [patient.sums(task, networks, batch, phase) for batch in batches]
        counts = [patient.counts(task, batch, phase) for batch in batches]
        wrong += [f"terms {sorted(sums[0])} but counts {sorted(counts[0])}"] if set(sums[0]) != set(counts[0]) else []
        shaped = [fault for name, value in sums[0].items() for fault in _faults(name, value)]
        wrong += shaped
        for name in () if shaped else sums[0]:
            kind, text = _additive(f"the loss '{name}'", [float(s[name].detach()) for s in sums])
            (wrong if kind == "mean" else odd).append(text)
        odd += [_additive(f"the count '{name}'", [c[name] for c in counts])[1] for name in counts[0]]
    told = [text for text in (*wrong, *odd) if text]
    return Finding(
        "fail" if any(wrong) else "warn" if told else "ok",
        "; ".join(told) or f"{len(rows)} samples give the sum of their halves",
        "a finite scalar with gradients for each term of `counts`, summed over the samples",
        "let the task's `losses` return sums, not means (the loop divides by `counts`); a loss that compares samples is no such sum",
    )


def _additive(what: str, values: list[float]) -> tuple[str, str]:
    """Compare the value of a batch with those of its halves: ("sum", ""), or ("mean" or "other", what was found)."""
    whole, first, second = values
    close = functools.partial(math.isclose, whole, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
    if close(first + second):
        return "sum", ""
    kind = "mean" if close((first + second) / 2) else "other"
    return kind, f"{what} is {whole:.4g} for a batch, {first:.4g} and {second:.4g} for its halves"


def _faults(name: str, value: Tensor) -> list[str]:
    if value.ndim:
        return [f"'{name}' has shape {tuple(value.shape)}"]
    if not bool(value.isfinite()):
        return [f"'{name}' is {float(value.detach())}"]
    return [] if value.requires_grad else [f"'{name}' has no gradient"]


class _Fixed(nn.Module):
    """Gives the same outputs to whatever comes in."""

    def __init__(self, outputs: Tensor) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, ...) -> outputs (B, K)."""
        return self.outputs


@torch.no_grad()
def loss_input(patient: Patient) -> Finding:
    """D16: the loss gets what it expects. exp(-loss) over all classes of one sample sums to 1 for a log-likelihood.

    Log-probabilities are as good as logits for a cross entropy. A loss of log-probabilities (torch's NLLLoss) needs log-softmax, not softmax as the
    notes say (erratum E15); given logits or probabilities the sum is not 1. A cross entropy of probabilities (two softmaxes) shows in the outputs.
    """
    model, task = patient.system()
    logits, batch = _one_sample(patient, model, task)
    losses = task.predict({"model": _Fixed(logits)}, batch)["losses"].double()
    total, probabilities = float((-losses).exp().sum()), _are_probabilities(logits)
    misfit = probabilities and not torch.allclose(losses, -logits[0].double().log(), rtol=_TOLERANCE, atol=_TOLERANCE)
    proper = _PROPER[0] <= total <= _PROPER[1]
    return Finding(
        "fail" if misfit else "ok" if proper else "warn",
        f"exp(-loss) sums to {total:.4g} over {len(losses)} classes{'; these are probabilities, which the loss does not take' if misfit else ''}",
        "about 1, from logits",
        "let the model end without softmax: CrossEntropy takes logits, NLLLoss log-probabilities",
    )


def _one_sample(patient: Patient, model: nn.Module, task: Task) -> tuple[Tensor, Batch]:
    """One sample K times, with each of the K classes as its target; skips what is no classification of one label."""
    batch = patient.batch(patient.rows(1))
    outputs, targets = task.predict(evaluating(model, task), batch), batch.get("targets")
    logits = outputs.get("logits")
    if logits is None or logits.ndim != 2 or targets is None or targets.shape != (1,) or targets.is_floating_point() or "losses" not in outputs:
        raise Skipped("the task predicts no logits (B, K) and losses for one class a sample")
    if set(task.split(model)) != {"model"}:
        raise Skipped("the task has several networks")
    classes = logits.shape[1]
    repeated = {k: v.expand(classes, *v.shape[1:]) for k, v in batch.items()}
    return logits.expand(classes, classes), {**repeated, "targets": torch.arange(classes, device=targets.device)}


def _are_probabilities(outputs: Tensor) -> bool:
    return bool(((outputs >= 0) & (outputs <= 1)).all()) and torch.allclose(outputs.sum(1), torch.ones(()).to(outputs), rtol=_TOLERANCE)


@torch.no_grad()
def term_ratio(patient: Patient) -> Finding:
    """D17: the terms of a loss of several are of one magnitude."""
    model, task = patient.system()
    batch, networks = patient.batch(patient.rows(patient.spec.trainer.batch_size)), evaluating(model, task)
    means: dict[str, float] = {}
    for phase in task.phases:
        sums, counts = patient.sums(task, networks, batch, phase), patient.counts(task, batch, phase)
        if len(sums) > 1:
            means |= {f"{phase.name}/{name}": abs(float(value)) / (counts[name] or 1.0) for name, value in sums.items()}
    if not means:
        raise Skipped("the loss has one term")
    smallest, largest = min(means, key=means.__getitem__), max(means, key=means.__getitem__)
    ratio = means[largest] / means[smallest] if means[smallest] else math.inf
    return Finding(
        "ok" if ratio <= _MAX_RATIO else "warn",
        f"{largest} {means[largest]:.3g}, {smallest} {means[smallest]:.3g}: ratio {ratio:.3g}",
        f"at most {_MAX_RATIO:g}",
        "weigh the terms of the loss",
    )
