"""The training loop: steps, with records, validations and checkpoints at their times, until a reason to stop.

Reads top to bottom: `Loop.run` -> `_epoch` -> `_after`. What a step is, step.py says; what a checkpoint holds, saving.py.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import nn

from components.data.draws import Draws
from components.errors import Interrupted, RunError, UserError
from components.optim.schedules import bind
from components.spec.duration import parse_duration
from components.spec.schema import Spec
from components.tasks.base import MicroBatch, Task
from components.training.checkpoint import Checkpoints
from components.training.evaluator import evaluate
from components.training.flops import useful_flops
from components.training.forensics import accuse
from components.training.inputs import Inputs
from components.training.journal import Journal
from components.training.judge import note_best, require_overfit, why_stop
from components.training.lengths import Lengths, lengths, steps_left
from components.training.meters import Meter
from components.training.notices import Notice
from components.training.pace import compare_ranks, own_seconds
from components.training.profile import Profile
from components.training.saving import Saver
from components.training.session import Session, gather, sum_over_ranks, take_from_rank_0
from components.training.step import NonFinite, Stepper, StepResult
from components.training.watch.watch import Watch

_LEAST_SCALE = 2.0**-10  # of fp16's loss: begun at 65,536 and halved at each overflow, so two dozen overflows and hardly a step between them


@dataclass
class Job:
    """What a loop works on.

    Args:
        training: the rows that are learned from.
        validation: what judges; None where there is nothing left to judge with (the refit on all data).
        refit: for the second phase of early stopping: how many steps to make, and the lengths that the first phase's schedule was made for.
    """

    task: Task
    model: nn.Module
    training: Inputs
    validation: Inputs | None
    refit: tuple[int, Lengths] | None = None


class Loop:
    """Trains one model.

    Args:
        session: rank, world, device, notices.
        spec: the run's specification.
        job: model, task and data.
        checkpoints: where to save and from where to resume.
        origin: plain data that each checkpoint's meta.json repeats.
    """

    def __init__(self, session: Session, spec: Spec, job: Job, checkpoints: Checkpoints, origin: dict[str, Any]) -> None:
        self.session, self.spec, self.task = session, spec, job.task
        self.training, self.validation = job.training, job.validation
        self.lengths = lengths(spec.trainer, job.training.rows)
        speeds = useful_flops(session, spec, job.task, job.model, job.training)
        planned = self.lengths if job.refit is None else job.refit[1]
        self.stepper = Stepper(session, spec, job.task, job.model, bind(spec.schedule, planned.epoch, planned.total))
        self.window = torch.zeros((), dtype=torch.float64, device=session.device)  # this rank's loss since the last record
        self.saver = Saver(session, spec, job.training.dataset.card.content_sha256, checkpoints, origin)
        self.progress = self.saver.restore(self.stepper, self.window)
        self.total_steps = self._total_steps() if job.refit is None else job.refit[0]
        self._require_something_to_do()
        self.journal: Journal | None = None
        self.meter = Meter(self.total_steps, self.progress.step, session.device, *speeds)
        self.watch = self._watch()
        self._watched: dict[str, float] = {}
        self._started = time.perf_counter() - self.progress.seconds
        self._begun = (self.progress.step, self.progress.spent["data_wait"])  # of this attempt
        self._metrics: dict[str, float] = {}

    def _watch(self) -> Watch | None:
        """Rank 0 watches its own rows. Hooks would undo a compilation, and a sharded layer's weights are not there to be looked at."""
        performance = self.spec.performance
        if self.session.rank > 0 or performance.compile or performance.strategy == "fsdp" or self.spec.watch.every_steps == 0:
            return None
        return Watch(self.stepper.networks, self.spec.watch.every_steps)

    def _total_steps(self) -> int:
        """As configured; a run that goes on with another batch size makes the rest of its epochs with it."""
        trainer, progress = self.spec.trainer, self.progress
        if "batch_size" not in self.spec.resume.permit or parse_duration(trainer.duration, "trainer.duration").unit != "ep":
            return self.lengths.total
        total = progress.step + steps_left(trainer, self.training.rows, progress.epoch, progress.samples)
        self.stepper.factor = bind(self.spec.schedule, self.lengths.epoch, total)
        return total

    def _require_something_to_do(self) -> None:
        """A run that was told to go on from another's checkpoint may ask for no more steps than that one has made."""
        if not self.progress.stopped and self.progress.step >= self.total_steps:
            raise UserError(
                "the checkpoint to go on from has made all steps that are asked for",
                received=f"trainer.duration={self.spec.trainer.duration}, {self.total_steps} steps",
                expected=f"more than the {self.progress.step} that {self.spec.resume.checkpoint} has made",
            )

    def run(self) -> dict[str, Any]:
        """Train to the end and return the summary.

        Raises:
            Interrupted: somebody asked to leave; the state is saved.
            RunError: a gradient is no number; fp16 does not hold the gradients; one batch cannot be learned (`overfit_one_batch`); the budget
                is spent, and the state is saved.
        """
        self._write_start()
        with Profile(self.saver.checkpoints.directory.parent, self.spec.performance.profile_steps, self.session.rank) as self.profile:
            while not self.progress.stopped:
                self._epoch()
        if self.spec.trainer.overfit_one_batch:
            require_overfit(self.progress)
        return self._summary()

    def _epoch(self) -> None:
        """Make the steps of an epoch, or what is left of it."""
        progress = self.progress
        self._train_mode()
        if progress.samples == 0:
            self.stepper.carry = [{} for _ in self.stepper.carry]
            if self.watch is not None:
                self.watch.new_epoch()
        self.meter.start()
        waiting = time.perf_counter()
        for parts in self._batches():
            fetched = time.perf_counter()
            result = self._step(parts)
            samples = progress.advance(self.spec.trainer.batch_size, self._rows)
            self.meter.waited(fetched - waiting)
            self.meter.step(samples)
            progress.spent["data_wait"] += fetched - waiting
            progress.spent["forward_backward"] += time.perf_counter() - fetched
            self._after(result)
            self.profile.step()
            if progress.stopped:
                return
            waiting = time.perf_counter()

    @property
    def _rows(self) -> int:
        """Rows of an epoch; with one batch alone, that batch is the epoch."""
        return min(self.training.rows, self.spec.trainer.batch_size) if self.spec.trainer.overfit_one_batch else self.training.rows

    def _batches(self) -> Iterator[list[MicroBatch]]:
        if self.spec.trainer.overfit_one_batch:
            parts, epoch = next(self.training.training(epoch=0)), self.progress.epoch
            # The same rows as augmented once, but dropout must not leave out the same units at every step.
            yield [replace(part, draws=Draws(self.spec.seed, epoch, part.batch["sample_id"])) for part in parts]
        else:
            yield from self.training.training(self.progress.epoch, self.progress.samples)

    def _train_mode(self) -> None:
        for network in self.stepper.networks.values():
            network.train()

    def _step(self, parts: list[MicroBatch]) -> StepResult:
        progress = self.progress
        watch = self.watch if self.watch is not None and self.watch.due(progress.step) else None
        try:
            with nullcontext() if watch is None else watch.forward():
                result = self.stepper.step(parts, progress.step, progress.epoch, watch)
        except NonFinite as error:
            replays = self.saver.checkpoints.directory.parent / "replay"
            raise accuse(self.session, self.spec, self.stepper, progress, error, parts, replays) from error
        self.window += result.loss
        if watch is not None:
            self._watched = watch.figures()
            for finding in watch.findings():
                self._write("event", name="finding", **asdict(finding))
        return result

    def _after(self, result: StepResult) -> None:
        """What is due after this step: a record, a validation, a checkpoint, leaving."""
        progress = self.progress
        ended = progress.step >= self.total_steps
        judged = self.validation is not None and (ended or progress.step % self.lengths.validate_every == 0)
        if ended or judged or progress.step % self.spec.trainer.log_every_steps == 0:
            self._record(result)
        better = self._validate() if judged else False
        if ended or judged:
            progress.stopped = why_stop(progress, self.spec.trainer, self.lengths, ended=ended)
        if progress.stopped or judged or progress.step % self.lengths.checkpoint_every == 0 or result.notice is not Notice.NONE:
            self._save(self._metrics if judged else {}, best=better or (self.validation is None and ended))
        if result.notice is Notice.STOP and not progress.stopped:
            gather(self.session, None)  # whoever says so first ends the whole group: rank 0 must have written what it says is saved
            raise Interrupted(f"interrupted after step {progress.step} of {self.total_steps}, which is saved")
        if result.notice is Notice.SPENT and not progress.stopped:
            gather(self.session, None)  # likewise
            key = f"budget.{self.spec.cluster.device_kind}_hours"
            raise RunError(
                f"the budget is spent: {progress.step} of {self.total_steps} steps are made, and saved. "
                f"Raise {key} and run the same command: it goes on"
            )

    def _record(self, result: StepResult) -> None:
        """Journal the mean loss since the last record, and what else is known of the step."""
        progress, stepper = self.progress, self.stepper
        loss = float(sum_over_ranks(self.session, self.window.clone())) / progress.window_steps
        rates = stepper.rates()
        figures = {"loss": loss, "learning_rate": next(iter(rates.values()))}
        if len(rates) > 1:
            figures |= {f"learning_rate/{phase}": rate for phase, rate in rates.items()}
        if len(result.parts) > 1:
            totals = sum_over_ranks(self.session, torch.stack([part.double() for part in result.parts.values()]))
            figures |= {f"loss/{name}": float(total) for name, total in zip(result.parts, totals, strict=True)}
        if result.gradient_norm is not None:
            figures["gradient_norm"] = float(result.gradient_norm)
        if stepper.scaler.is_enabled() and stepper.scaler.get_scale() < _LEAST_SCALE:
            raise RunError(
                f"the gradients do not fit into fp16: its scale has fallen to {stepper.scaler.get_scale():g}. Choose trainer.precision=bf16"
            )
        self._write("step", **figures, **self._watched, **self.meter.figures())
        self._watched = {}
        progress.loss_sum, progress.loss_steps = progress.loss_sum + loss * progress.window_steps, progress.loss_steps + progress.window_steps
        self.window.zero_()
        progress.window_steps = 0

    def _validate(self) -> bool:
        """Validate, journal the figures, equal on every rank, and return whether they are the best so far."""
        assert self.validation is not None
        progress, options = self.progress, self.spec.evaluate
        clock = time.perf_counter()
        with self.stepper.averaged():
            take_from_rank_0(self.session, self.stepper.model.buffers())  # running means differ; what is validated must be what rank 0 saves
            lockstep = self.spec.performance.strategy == "fsdp"
            found = evaluate(self.session, self.task, self.stepper.networks, self.validation, options, lockstep=lockstep)
        self._train_mode()
        self.meter.start()
        progress.loss, progress.loss_sum, progress.loss_steps = progress.loss_sum / progress.loss_steps, 0.0, 0
        self._metrics = {"train/loss": progress.loss, **{f"validation/{k}": float(v) for k, v in found.items() if isinstance(v, (int, float))}}
        progress.spent["validation"] += time.perf_counter() - clock
        better = note_best(progress, self._metrics, self.spec.trainer.monitor)
        self._write("epoch", **self._metrics, **self._paces())
        return better

    def _paces(self) -> dict[str, Any]:
        """How long the ranks work at a step before they wait for each other, in this attempt; nothing where one is alone."""
        if self.session.world == 1:
            return {}
        step, waited = self._begun
        waiting = (self.progress.spent["data_wait"] - waited) / max(1, self.progress.step - step)
        working = own_seconds(list(self.stepper.wrapped.values()), self.spec.trainer.accumulate)
        return {"rank_step_seconds": compare_ranks(self.session, waiting + working)}

    def _save(self, metrics: dict[str, float], *, best: bool) -> None:
        self.progress.seconds = time.perf_counter() - self._started
        self.saver.save(self.stepper, self.progress, self.window, metrics, best=best)
        self.meter.start()

    def _summary(self) -> dict[str, Any]:
        progress, monitor = self.progress, self.spec.trainer.monitor
        busy = progress.spent["data_wait"] + progress.spent["forward_backward"]
        samples = progress.epoch * self._rows + progress.samples
        return {
            "parameters": sum(p.numel() for p in self.stepper.model.parameters()),
            "steps": progress.step,
            "epochs": progress.epoch,
            "workers": self.session.world,
            "samples_per_second": samples / busy if busy else 0.0,
            "seconds": {"total": progress.seconds, **progress.spent},
            "best": {"metric": monitor.metric, "value": progress.best_value, "step": progress.best_step},
            "stopped": progress.stopped,
        }

    def _write_start(self) -> None:
        """Say when this attempt began, whose it is and what it has, so that its cost is known however it ends."""
        device, owner = self.session.device, self.saver.checkpoints.owner
        self._write(
            "event",
            name="start",
            total_steps=self.total_steps,
            steps_per_epoch=self.lengths.epoch,
            at=time.time(),
            attempt=None if owner is None else owner.token,
            workers=self.session.world,
            device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        )

    def _write(self, kind: str, **fields: Any) -> None:
        if self.journal is not None:
            seconds = time.perf_counter() - self._started
            self.journal.write(kind, step=self.progress.step, epoch=self.progress.epoch, seconds=seconds, **fields)
