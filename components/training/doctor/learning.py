"""Can it learn? D1, D2 (overfit), D5 (random inputs), D7 (inputs belong to their labels); notes 002 section 14."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from components.errors import UserError
from components.tasks.base import Batch, MicroBatch, Task
from components.training.doctor.finding import Finding, Skipped, Status
from components.training.doctor.patient import Patient, Rows, evaluating, one_phase, real_inputs
from components.training.step import Stepper

_LOOK_EVERY_STEPS, _LOOKS = 10, 40
_PATIENCE_LOOKS, _GAIN = 10, 0.02  # a loss falls when it lost a fiftieth in a hundred steps
_TRIAL_STEPS, _TRIAL_ROWS, _TRIAL_BATCH = 60, 512, 64
_FITTED = 0.1  # of the first loss, where there is no accuracy to judge by
_HALF = 0.5  # of the first loss; beside an accuracy, for one sample is right by chance 1 time in K. Label smoothing keeps it from 0
_NEAR_ALL = 0.9  # of ten samples ("near 100 %")
_SAME_ERROR = 0.02  # relative
_NO_BETTER = 0.95  # of the loss with shuffled labels
_Change = Callable[[Batch, Rows], Batch]


def overfit_one(patient: Patient) -> Finding:
    """D1: one sample, without the transforms of training, is learned to 100 % accuracy or a loss near its floor."""
    try:
        return _overfit(patient, 1, 1.0)
    except UserError:
        raise
    except ValueError as error:  # batch normalisation over one value; D19 says whether training will meet a batch of one
        raise Skipped(f"the model cannot train on one sample: {error}") from error


def overfit_ten(patient: Patient) -> Finding:
    """D2: ten samples are learned to 90 % accuracy or a loss near its floor."""
    return _overfit(patient, 10, _NEAR_ALL)


def _overfit(patient: Patient, count: int, target: float) -> Finding:
    """Train until the samples are learned, the loss falls no more (a failure), or the steps are used up (a warning: a sequence takes longer)."""
    model, task = patient.system()
    one_phase(task)
    batch, stepper = patient.batch(patient.rows(count)), patient.stepper(model, task)
    losses = [patient.mean_loss(model, task, batch)]
    accuracy: float | None = None
    verdict: Status = "warn"
    while verdict == "warn" and len(losses) <= _LOOKS:
        first_step = _LOOK_EVERY_STEPS * (len(losses) - 1)
        for step in range(first_step, first_step + _LOOK_EVERY_STEPS):
            _step(patient, stepper, batch, step)
        losses.append(patient.mean_loss(model, task, batch))
        accuracy = _accuracy(model, task, batch)
        verdict = "ok" if _learned(losses[0], losses[-1], accuracy, target) else "fail" if _stuck(losses) else "warn"
    reached = "" if accuracy is None else f", accuracy {accuracy:.0%}"
    falling = "; it was still falling" if verdict == "warn" else ""
    return Finding(
        verdict,
        f"loss {losses[0]:.4g} -> {losses[-1]:.4g} in {_LOOK_EVERY_STEPS * (len(losses) - 1)} steps{reached}{falling}",
        f"accuracy {target:.0%} and half the first loss, or a tenth of the first loss where there is no accuracy",
        "look at optimizer.lr, at frozen or unused parameters (D18), at the loss (D16) and at the labels (D7)",
    )


def _learned(first: float, loss: float, accuracy: float | None, target: float) -> bool:
    """Judge a small set's loss. One that starts at or below 0 (a log density) has no known floor: it has to fall."""
    if first <= 0:
        return loss < first and (accuracy is None or accuracy >= target)
    return loss <= _FITTED * first if accuracy is None else loss <= _HALF * first and accuracy >= target


def _stuck(losses: list[float]) -> bool:
    """Has the loss, the last of a look every so many steps, not fallen any more for a while? One that is no number has not."""
    before, lately = losses[:-_PATIENCE_LOOKS], losses[-_PATIENCE_LOOKS:]
    if not math.isfinite(losses[-1]):
        return True
    return bool(before) and min(lately) > min(before) - _GAIN * abs(min(before))


def _step(patient: Patient, stepper: Stepper, batch: Batch, step: int) -> float:
    """Make one training step on a batch that follows no other, and return its loss.

    Each step is an epoch of its own: dropout would else drop the same places of the same samples again and again.
    """
    for carry in stepper.carry:
        carry.clear()
    stepper.model.train()
    return float(stepper.step([MicroBatch(batch, patient.draws(batch, epoch=step))], step, step).loss)


@torch.no_grad()
def _accuracy(model: nn.Module, task: Task, batch: Batch) -> float | None:
    """The task's own accuracy on a batch; None where its metrics have none."""
    metric = task.metrics()
    metric.update(task.predict(evaluating(model, task), batch), batch)
    found = metric.compute([metric.state()]).get("accuracy")
    return float(found) if isinstance(found, (int, float)) else None


@dataclass(frozen=True)
class Trial:
    """A short training: its mean loss over the last quarter of the steps, the loss on validation rows afterwards, whether any weight moved."""

    loss: float
    held_out: float
    moved: bool


def trial(patient: Patient, change: _Change) -> Trial:
    """Train briefly, with the run's own weights, optimizer and schedule, on batches that `change(batch, rows)` may alter."""
    model, task = patient.system()
    rows, size = patient.rows(_TRIAL_ROWS), min(_TRIAL_BATCH, patient.spec.trainer.batch_size)
    before = [p.detach().clone() for p in model.parameters()]
    stepper, losses = patient.stepper(model, task), []
    for step in range(_TRIAL_STEPS):
        chosen = rows.take(range(step * size, (step + 1) * size), mode="wrap")
        batch = change(patient.raw(chosen), chosen)
        losses.append(_step(patient, stepper, batch, step))
    held_rows = patient.rows(_TRIAL_ROWS // 2, "validation")
    held_out = patient.mean_loss(model, task, patient.batch(held_rows, "validation"))
    moved = any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    last = losses[-_TRIAL_STEPS // 4 :]
    return Trial(sum(last) / len(last), held_out, moved)


def _real_trial(patient: Patient) -> Trial:
    """The trial that D5 and D7 compare theirs with."""
    one_phase(patient.system()[1])
    if not (real := trial(patient, lambda batch, rows: patient.transformed(batch))).moved:
        raise Skipped(f"no weight moved in {_TRIAL_STEPS} steps; D1 and D18 say more")
    return real


def random_inputs(patient: Patient) -> Finding:
    """D5: trained on noise of the same mean and spread, the same model has another error; else it discards its input."""
    sample = real_inputs(patient.batch(patient.rows(_TRIAL_BATCH)))
    mean, std = float(sample.mean()), float(sample.std())

    def noise(batch: Batch, rows: Rows) -> Batch:
        batch = patient.transformed(batch)
        shape = batch["inputs"].shape[1:]
        return {**batch, "inputs": mean + std * patient.draws(batch).normal("doctor noise", *shape).to(batch["inputs"].dtype)}

    real, other = _real_trial(patient), trial(patient, noise)
    same = abs(real.loss - other.loss) <= _SAME_ERROR * abs(other.loss)
    return Finding(
        "fail" if same else "ok",
        f"loss after {_TRIAL_STEPS} steps {real.loss:.4g} on real inputs, {other.loss:.4g} on noise",
        "another error on noise than on real inputs",
        "the network discards its input, or learns far too slowly: look for a dead or saturated layer and at optimizer.lr",
    )


def alignment(patient: Patient) -> Finding:
    """D7: with its own labels a set is learned better, on held-out rows, than with its labels shuffled."""
    if "targets" not in patient.card.columns:
        raise Skipped("the data have no column 'targets'")
    rows = patient.rows(_TRIAL_ROWS)
    partners = dict(zip(rows.tolist(), rows[::-1].tolist(), strict=True))  # the rows are in random order, so their reverse is a shuffle

    def shuffled(batch: Batch, chosen: Rows) -> Batch:
        others = patient.raw(np.array([partners[row] for row in chosen.tolist()], dtype=np.int64))
        return patient.transformed({k: others[k] if k.partition(".")[0] == "targets" else v for k, v in batch.items()})

    real, other = _real_trial(patient), trial(patient, shuffled)
    limit = _NO_BETTER * other.held_out if other.held_out > 0 else other.held_out
    return Finding(
        "ok" if real.held_out < limit else "fail",
        f"validation loss after {_TRIAL_STEPS} steps {real.held_out:.4g} with the labels, {other.held_out:.4g} with the labels shuffled",
        "learned better than with shuffled labels",
        "the labels say nothing about the inputs: look whether the reader keeps rows together, whether splits share one coding, and at D5",
    )
