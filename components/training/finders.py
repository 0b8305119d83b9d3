"""Two measurements before training: which learning rate, which batch size. They train a model that is thrown away, and write nothing.

Both have the face of a job, `(session, config: plain dict) -> plain dict`, and use the specification's own model, task, optimizer and augmentation.
"""

from __future__ import annotations

import gc
import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from components.data.card import Card
from components.errors import Interrupted, RunError, UserError
from components.spec.parse import parse_spec
from components.spec.schema import Spec
from components.tasks.base import MicroBatch, Task
from components.training.determinism import deterministic
from components.training.inputs import Inputs
from components.training.meters import available_memory_gib, peak_memory_gib
from components.training.notices import Notice
from components.training.session import Session, sum_over_ranks
from components.training.step import NonFinite, Stepper, StepResult
from components.training.system import build_system

LOWEST_RATE, HIGHEST_RATE, RANGE_STEPS = 1e-7, 10.0, 200  # 25 steps to a decade
SMOOTHING = 0.9
SETTLED = 10  # steps until the smoothed loss is a mean of several; before that, one lucky batch would count as the best
DIVERGED = 4.0  # times the best smoothed loss

WARM_UP, TIMED = 2, 5  # steps of each batch size
GROWTH = 1.05  # of the throughput, below which a batch of twice the size is not worth its memory
MEMORY_FRACTION = 0.5  # of what was available: a batch of twice the size would take all of it

System = Callable[[Spec, Card, Session], tuple[nn.Module, Task]]


@dataclass(frozen=True)
class RangePoint:
    """One step of the range test; the loss is that of the weights before the step."""

    learning_rate: float
    loss: float
    smoothed: float


@dataclass(frozen=True)
class BatchTrial:
    """What one batch size took. Memory is a GPU's by tensors, else the process's largest so far."""

    batch_size: int
    samples_per_second: float
    step_seconds: float
    peak_memory_gib: float


def find_learning_rate(session: Session, config: dict[str, Any]) -> dict[str, Any]:
    """Run the learning-rate range test (Smith 2017, "Cyclical learning rates for training neural networks", section 3.3).

    The notes have no range test (their section 5 has schedules only). Smith raises the rate linearly; an exponential rise, as here, covers
    magnitudes.

    Args:
        session: this worker's place in the group; all workers take part.
        config: `spec` (plain), `data` (prepared directory).

    Returns:
        As `range_test`, the same on every rank.
    """
    spec = parse_spec(config["spec"])
    with deterministic(wanted=spec.performance.deterministic):
        training = Inputs(Path(config["data"]), ("train",), spec, session)
        model, task = build_system(spec, training.dataset.card, session)
        return range_test(session, spec, training, model, task)


def range_test(session: Session, spec: Spec, training: Inputs, model: nn.Module, task: Task) -> dict[str, Any]:
    """Train while the rate grows exponentially from `LOWEST_RATE` to `HIGHEST_RATE`, until the smoothed loss has diverged.

    Rates are those of `optimizer.lr`; what has a rate of its own (a phase, a group of parameters) keeps its ratio to it.

    Args:
        model: on the session's device; it is trained, so it is spoilt.

    Returns:
        steepest: the rate in the middle of the decade in which the smoothed loss falls most.
        upper_bound: a tenth of the rate at the lowest smoothed loss.
        suggestion: the smaller one of the two.
        stopped: why the test ended.
        curve: `{learning_rate, loss, smoothed}` of each step.

    Raises:
        UserError: optimizer.lr is not given, or 0.
        RunError: the loss falls at no rate.
        Interrupted: somebody asked to leave.
    """
    base = spec.optimizer.options.get("lr")
    if not base:
        raise UserError("optimizer.lr is needed: what has a rate of its own keeps its ratio to it", received=base, expected="a number above 0")
    rates = np.geomspace(LOWEST_RATE, HIGHEST_RATE, RANGE_STEPS).tolist()
    stepper = Stepper(session, spec, task, model, lambda step: rates[step] / base)
    curve, stopped = _climb(_losses(session, training, stepper), rates)
    return {**_suggest(curve), "stopped": stopped, "curve": [asdict(point) for point in curve]}


def _losses(session: Session, training: Inputs, stepper: Stepper) -> Iterator[float]:
    """The global loss of step after step; no number where the loss or a gradient is none."""
    for step, batch in enumerate(_batches(training, stepper)):
        try:
            result = _step(stepper, batch, step)
        except NonFinite:
            yield math.nan
            return
        yield float(sum_over_ranks(session, result.loss))


def _climb(losses: Iterator[float], rates: list[float]) -> tuple[list[RangePoint], str]:
    """Take steps until the loss has diverged; return the curve and why it ended. The mean is exponential, its bias corrected (Kingma & Ba 2015)."""
    curve: list[RangePoint] = []
    average, best = 0.0, math.inf
    for rate, loss in zip(rates, losses, strict=False):
        if not math.isfinite(loss):
            return curve, f"no finite loss at a rate of {rate:.3g}"
        average = SMOOTHING * average + (1.0 - SMOOTHING) * loss
        smoothed = average / (1.0 - SMOOTHING ** (len(curve) + 1))
        curve.append(RangePoint(rate, loss, smoothed))
        if len(curve) > SETTLED:
            best = min(best, smoothed)
            if smoothed > best + (DIVERGED - 1.0) * abs(best):  # 4 x the best; a log density may be below 0
                return curve, f"the loss had diverged at a rate of {rate:.3g}"
    return curve, "all steps made"


def _suggest(curve: list[RangePoint]) -> dict[str, float]:
    """The rates that a curve speaks for. Falls are measured over a decade: from one step to the next, the noise of batches is larger."""
    smoothed = [point.smoothed for point in curve[SETTLED:]]
    lowest = smoothed.index(min(smoothed)) if smoothed else 0
    half = round(RANGE_STEPS / math.log10(HIGHEST_RATE / LOWEST_RATE) / 2)
    falls = [smoothed[max(0, i - half)] - smoothed[min(i + half, len(smoothed) - 1)] for i in range(lowest)]
    if not falls or max(falls) <= 0.0:
        raise RunError("the loss falls at no learning rate: nothing is learned. Run `modelyard doctor` with the same experiment.")
    steepest = curve[SETTLED + falls.index(max(falls))].learning_rate
    upper = curve[SETTLED + lowest].learning_rate / 10.0
    return {"suggestion": min(steepest, upper), "steepest": steepest, "upper_bound": upper}


def find_batch_size(session: Session, config: dict[str, Any]) -> dict[str, Any]:
    """Double the batch until memory runs out, throughput stops to grow by 5 %, or the training split has no more rows.

    Args:
        session: one worker; what it finds is a worker's share of the batch.
        config: `spec` (plain), `data` (prepared directory).

    Returns:
        As `batch_size_test`.
    """
    spec = parse_spec(config["spec"])
    with deterministic(wanted=spec.performance.deterministic):
        return batch_size_test(session, spec, Path(config["data"]))


def batch_size_test(
    session: Session, spec: Spec, data: Path, system: System = build_system, clock: Callable[[], float] = time.perf_counter
) -> dict[str, Any]:
    """Measure batch sizes from two samples a micro-batch upwards (one alone has no batch statistics), each with a new model.

    Times hold loading and augmentation, as in training. The learning rate is 0, so that no size can diverge.

    Returns:
        table: `{batch_size, samples_per_second, step_seconds (median), peak_memory_gib}` of each size that fits.
        largest: the largest size that was tried and fits.
        knee: the smallest size within 5 % of the best throughput.
        stopped: why the test ended.
        note: what linear scaling would make of the learning rate; nothing scales it by itself.

    Raises:
        UserError: there are several workers: where one runs out of memory, the others would wait for it for ever.
        RunError: not even the smallest batch fits.
        Interrupted: somebody asked to leave.
    """
    if session.world > 1:
        raise UserError("the search for a batch size measures one worker", received=f"{session.world} workers", expected="cluster=inline")
    rows = Inputs(data, ("train",), spec, session).rows
    table, stopped = _double(session, 2 * spec.trainer.accumulate, rows, lambda size: _trial(session, _with_batch(spec, size), data, system, clock))
    fastest = max(trial.samples_per_second for trial in table)
    knee = next(trial.batch_size for trial in table if trial.samples_per_second * GROWTH >= fastest)
    largest = table[-1].batch_size
    note = _scaling_note(spec, largest)
    return {"table": [asdict(trial) for trial in table], "largest": largest, "knee": knee, "stopped": stopped, "note": note}


def _double(session: Session, size: int, rows: int, trial: Callable[[int], BatchTrial]) -> tuple[list[BatchTrial], str]:
    """Try sizes; return what was measured and why the search ended."""
    table: list[BatchTrial] = []
    held, available = peak_memory_gib(session.device), available_memory_gib()
    while size <= rows:
        try:
            table.append(trial(size))
        except torch.OutOfMemoryError as error:
            if not table:
                raise RunError(f"not even a batch of {size} fits into the device's memory: {error}") from error
            return table, f"memory ran out at a batch of {size}"
        if len(table) > 1 and table[-1].samples_per_second < GROWTH * table[-2].samples_per_second:
            return table, f"a batch of {size} is hardly faster than one of {table[-2].batch_size}"
        if session.device.type == "cpu" and table[-1].peak_memory_gib - held > MEMORY_FRACTION * available:
            return table, f"a batch of {2 * size} could take more memory than is available ({available:.1f} GiB)"
        size *= 2
    if not table:
        raise UserError("the training split is too small to compare batches", received=f"{rows} rows", expected=f"at least {size}")
    return table, f"the training split has {rows} rows"


def _trial(session: Session, spec: Spec, data: Path, system: System, clock: Callable[[], float]) -> BatchTrial:
    size, on_gpu = spec.trainer.batch_size, session.device.type == "cuda"
    if on_gpu:
        gc.collect()  # a model that refers to itself outlives its trial
        torch.cuda.empty_cache()  # pieces cut for smaller batches do not serve larger ones
        torch.cuda.reset_peak_memory_stats(session.device)
    training = Inputs(data, ("train",), spec, session)
    model, task = system(spec, training.dataset.card, session)
    stepper = Stepper(session, spec, task, model, lambda step: 0.0)
    batches, seconds = _batches(training, stepper), []
    for step in range(WARM_UP + TIMED):
        started = clock()
        _step(stepper, next(batches), step)
        if on_gpu:
            torch.cuda.synchronize(session.device)
        seconds.append(clock() - started)
    usual = max(statistics.median(seconds[WARM_UP:]), 1e-9)
    return BatchTrial(size, size / usual, usual, peak_memory_gib(session.device))


def _with_batch(spec: Spec, size: int) -> Spec:
    return replace(spec, trainer=replace(spec.trainer, batch_size=size))


def _scaling_note(spec: Spec, size: int) -> str:
    rate, now = spec.optimizer.options.get("lr"), spec.trainer.batch_size
    if rate is None:
        return "optimizer.lr is not given; it does not follow the batch size by itself"
    return (
        f"optimizer.lr stays {rate:g}, which stands beside a batch of {now}. Linear scaling (Goyal et al. 2017, section 2.1) would make it "
        f"{rate * size / now:g} for a batch of {size}; it is for you to set."
    )


def _batches(training: Inputs, stepper: Stepper) -> Iterator[tuple[int, list[MicroBatch]]]:
    """Whole batches with their epoch, without end: a short last one would be timed and weighed as if it were whole."""
    whole = max(1, training.rows // training.spec.trainer.batch_size)  # a batch larger than the split is refused where it is made
    for epoch in itertools.count():
        stepper.carry = [{} for _ in stepper.carry]
        for _, parts in zip(range(whole), training.training(epoch), strict=False):
            yield epoch, parts


def _step(stepper: Stepper, batch: tuple[int, list[MicroBatch]], step: int) -> StepResult:
    """One training step."""
    epoch, parts = batch
    result = stepper.step(parts, step, epoch)
    if result.notice is Notice.STOP:
        raise Interrupted("interrupted; a search keeps nothing")
    return result
