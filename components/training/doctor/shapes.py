"""Axes: D19 (odd and prime sizes), samples that do not see each other, steps that do not see the future; notes 002 section 14."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.errors import UserError
from components.tasks.base import Batch, MicroBatch, Task
from components.training.doctor.finding import Finding, Skipped
from components.training.doctor.patient import Patient, evaluating, real_inputs

_SIZES = (1, 3, 7)
_TOLERANCE = 1e-4  # relative: another batch size is another order of float32 sums
_ROWS = 4


@torch.no_grad()
def odd_batches(patient: Patient) -> Finding:
    """D19: batches of 1, 3 and 7 rows go through, each output has the batch's size, and a row's outputs do not depend on it."""
    model, task = patient.system()
    networks, rows, wrong = evaluating(model, task), patient.rows(max(_SIZES)), []
    whole = task.predict(networks, patient.batch(rows))
    for size in (s for s in _SIZES if s <= len(rows)):
        outputs = task.predict(networks, patient.batch(rows[:size]))
        for name, value in outputs.items():
            if value.ndim == 0 or len(value) != size:
                wrong.append(f"'{name}' has shape {tuple(value.shape)} for {size} rows")
            elif value.shape == whole[name][:size].shape and not _close(value, whole[name][:size]):
                wrong.append(f"'{name}' of the first {size} rows changes with the batch's size")
    return Finding(
        "fail" if wrong else "ok",
        "; ".join(wrong) or f"batches of {', '.join(map(str, _SIZES))} give the same rows",
        "outputs (B, ...) that a row alone decides",
        "look for `view` and `reshape` with a fixed or a wrong axis, and for sums over the first axis",
    )


def _close(a: Tensor, b: Tensor) -> bool:
    if not a.is_floating_point():
        return torch.equal(a, b)
    return torch.allclose(a, b, rtol=0.0, atol=_TOLERANCE * max(1.0, float(b.abs().nan_to_num().max())), equal_nan=True)


def smallest_batch(patient: Patient) -> Finding:
    """D19: the model can train on the last batch of an epoch, which may be as short as one row."""
    model, task = patient.system()
    size = patient.spec.trainer.batch_size
    size = patient.training.rows % size or size
    batch = patient.batch(patient.rows(size))
    stepper = patient.stepper(model, task)
    model.train()
    refused = ""
    try:
        stepper.step([MicroBatch(batch, patient.draws(batch))], 0, 0)
    except UserError:
        raise
    except ValueError as error:  # batch normalisation over one value
        refused = f": {error}"
    return Finding(
        "fail" if refused else "ok",
        f"the last batch of an epoch has {size} rows{refused}",
        "a step on every batch of an epoch",
        "choose a trainer.batch_size that leaves more rows over, or another normalisation than over the batch",
    )


@torch.no_grad()
def prime_images(patient: Patient) -> Finding:
    """D19: images of two different prime sizes go through, where the model takes other sizes than the data's at all."""
    model, task = patient.system()
    batch = patient.batch(patient.rows(_ROWS))
    inputs = real_inputs(batch)
    if inputs.ndim != 4:
        raise Skipped("the inputs are no images (B, C, H, W)")
    height = _next_prime(inputs.shape[2])
    size = (height, _next_prime(height))
    try:
        outputs = task.predict(evaluating(model, task), {**batch, "inputs": F.interpolate(inputs, size=size)})
    except (RuntimeError, ValueError) as error:
        raise Skipped(f"the model takes only images of the data's size, {tuple(inputs.shape[2:])}") from error
    wrong = [f"'{name}' {tuple(value.shape)}" for name, value in outputs.items() if value.ndim == 0 or len(value) != len(inputs)]
    found = f"images of {size[0]} x {size[1]}: " + (", ".join(wrong) or "outputs of the right number")
    return Finding("fail" if wrong else "ok", found, "outputs (B, ...)", "look for `view` that mixes the batch with rows or columns")


def _next_prime(number: int) -> int:
    """The smallest prime above a number."""
    candidate = number + 1
    while any(candidate % d == 0 for d in range(2, int(candidate**0.5) + 1)):
        candidate += 1
    return candidate


def independence(patient: Patient) -> Finding:
    """In evaluation mode no output of sample i has a gradient with respect to the inputs of sample j."""
    model, task = patient.system()
    batch = patient.batch(patient.rows(_ROWS))
    inputs = real_inputs(batch).clone().requires_grad_()
    outputs = task.predict(evaluating(model, task), {**batch, "inputs": inputs})
    shaped = [v for v in outputs.values() if v.requires_grad and v.ndim and len(v) == len(inputs)]
    if not shaped:
        raise Skipped("the predictions have no gradient")
    mixed = []
    for i in range(len(inputs)):
        (gradient,) = torch.autograd.grad(torch.stack([v[i].sum() for v in shaped]).sum(), inputs, retain_graph=True, allow_unused=True)
        seen = [] if gradient is None else gradient.flatten(1).ne(0).any(1).nonzero().flatten().tolist()
        mixed += [f"{i} sees {j}" for j in seen if j != i]
    return Finding(
        "fail" if mixed else "ok",
        f"samples see each other: {', '.join(mixed[:5])}" if mixed else f"{len(inputs)} samples, none sees another",
        "outputs of a sample that depend on that sample alone",
        "look for a mixed-up axis: `view` instead of `permute`, softmax or mean over the batch, normalisation in training mode",
    )


@torch.no_grad()
def future(patient: Patient) -> Finding:
    """A network that predicts the next value sees no later one: its outputs up to step t stay when the sequence after t changes.

    So it is where a batch holds `tokens` (B, T + 1), or `targets` (B, T, ...) that are the `inputs` one step later. What the network gives is
    looked at, not what the task makes of it: a decoded token changes seldom.
    """
    model, task = patient.system()
    batch = patient.batch(patient.rows(_ROWS))
    column = _next_value_column(batch)
    networks, heard = evaluating(model, task), []
    for network in networks.values():
        network.register_forward_hook(lambda module, given, outputs: heard.extend(_sequences(outputs)))
    before = _heard(task, networks, batch, heard)
    steps = min((value.shape[1] for value in before), default=0)
    if steps < 2:
        raise Skipped("no network gives a sequence (B, T, ...)")
    leaks = [last for last in sorted({0, steps // 2, steps - 2}) if _leaks(task, networks, _changed(batch, column, last), before, heard, last)]
    return Finding(
        "fail" if leaks else "ok",
        f"outputs up to step {', '.join(map(str, leaks))} change with what comes later" if leaks else f"none of {steps} steps sees a later one",
        "outputs at step t from inputs up to t",
        "mask attention, pad convolutions on the left, and do not use a bidirectional layer",
    )


def _next_value_column(batch: Batch) -> str:
    """The column whose next values are the targets."""
    if "tokens" in batch:
        return "tokens"
    inputs, targets = batch.get("inputs"), batch.get("targets")
    if inputs is None or targets is None or inputs.ndim < 2 or inputs.shape != targets.shape:
        raise Skipped("the targets are no sequence of the inputs' shape (B, T, ...)")
    if not torch.equal(inputs[:, 1:].to(targets.dtype), targets[:, :-1]):
        raise Skipped("the targets are not the inputs' next values, so later inputs may be seen")
    return "inputs"


def _sequences(outputs: object) -> list[Tensor]:
    """The floating-point tensors (B, T, ...) of what a network gives: a tensor, or a tuple that starts with one."""
    first = outputs[0] if isinstance(outputs, tuple) else outputs
    return [first] if isinstance(first, Tensor) and first.is_floating_point() and first.ndim >= 2 else []


def _heard(task: Task, networks: dict[str, nn.Module], batch: Batch, heard: list[Tensor]) -> list[Tensor]:
    heard.clear()
    task.predict(networks, batch)
    return list(heard)


def _changed(batch: Batch, column: str, last: int) -> Batch:
    """The batch with other values after a step, but ones that occur: those of the next row, backwards."""
    values = batch[column].clone()
    values[:, last + 1 :] = values[:, last + 1 :].roll(1, 0).flip(1)
    return {**batch, column: values}


def _leaks(task: Task, networks: dict[str, nn.Module], batch: Batch, before: list[Tensor], heard: list[Tensor], last: int) -> bool:
    after = _heard(task, networks, batch, heard)
    return any(not _close(a[:, : last + 1], b[:, : last + 1]) for a, b in zip(after, before, strict=True))
