"""The training loop: epochs of steps, a step of phases, validation and a checkpoint after each epoch.

Reads top to bottom: `Loop.run` -> `_epoch` -> `_step`. The loss of a step is, over all terms, (sum over the global batch) / (count over the
global batch), whatever the number of workers; DDP averages gradients over workers, so each worker multiplies its share by their number.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from components.data.draws import Draws
from components.errors import RunError, UserError
from components.spec.schema import Spec
from components.spec.targets import build, resolve
from components.tasks.base import Batch, Phase, StepContext, Task
from components.training import checkpoint
from components.training.checkpoint import Checkpoints
from components.training.evaluator import evaluate
from components.training.inputs import Inputs
from components.training.journal import Journal
from components.training.session import Session, gather, sum_over_ranks, take_from_rank_0

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
OVERFIT_LOSS = 0.01  # nats; debug=overfit ends here


@dataclass
class Progress:
    """Where a run stands; everything here is in the checkpoint."""

    step: int = 0
    epoch: int = 0  # finished epochs
    best_value: float | None = None
    best_step: int = 0
    epochs_without_best: int = 0
    loss: float = math.inf  # of the last epoch, mean over its steps
    stopped: str = ""  # why the run ended; a finished run that is taken up again makes no step more
    seconds: float = 0.0
    spent: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("data_wait", "forward_backward", "validation", "checkpoint"), 0.0))


class Loop:
    """Trains one model.

    Args:
        session: rank, world, device.
        spec: the run's specification.
        task: what a step means.
        model: on the session's device.
        training, validation: the splits.
        checkpoints: where to save and from where to resume.
        journal: where rank 0 writes; None on the other ranks.
    """

    def __init__(
        self,
        session: Session,
        spec: Spec,
        task: Task,
        model: nn.Module,
        training: Inputs,
        validation: Inputs,
        checkpoints: Checkpoints,
        journal: Journal | None,
    ) -> None:
        self.session, self.spec, self.task, self.model = session, spec, task, model
        self.training, self.validation, self.checkpoints, self.journal = training, validation, checkpoints, journal
        self.networks = task.split(model)
        self.trainable = {name: [p for p in network.parameters() if p.requires_grad] for name, network in self.networks.items()}
        self._require_trainable()
        self.optimizers = {p.name: build(spec.optimizer, params=self.networks[p.network].parameters()) for p in task.phases}
        self.base_rates = {name: [g["lr"] for g in o.param_groups] for name, o in self.optimizers.items()}
        self.factor = functools.partial(resolve(spec.schedule.name), total_steps=self.total_steps, **spec.schedule.options)
        self.scaler = torch.amp.GradScaler(session.device.type, enabled=spec.trainer.precision == "fp16")
        self.progress = Progress()
        self.carry: dict[str, Tensor] = {}
        self.wrapped = {p.name: self._wrap(p) for p in task.phases}
        self._logged_loss = torch.zeros((), dtype=torch.float64, device=session.device)  # sum of the steps' losses since the last record
        self._logged_at = 0.0
        self._logged_step = 0

    @property
    def steps_per_epoch(self) -> int:
        return 1 if self.spec.trainer.overfit_one_batch else math.ceil(self.training.rows / self.spec.trainer.batch_size)

    @property
    def total_steps(self) -> int:
        planned = self.spec.trainer.epochs * self.steps_per_epoch
        return min(planned, self.spec.trainer.max_steps or planned)

    def _require_trainable(self) -> None:
        """Backpropagation and DDP would both fail on a network without a single trainable parameter, and say less."""
        for phase in self.task.phases:
            if not self.trainable[phase.network]:
                raise RunError(f"phase '{phase.name}' has nothing to train: every parameter of its network '{phase.network}' is frozen")

    def _wrap(self, phase: Phase) -> dict[str, nn.Module]:
        """The networks as this phase sees them: its own in DDP, the others bare, so that DDP never waits for gradients that do not come."""
        if self.session.world == 1:
            return self.networks
        own = DistributedDataParallel(self.networks[phase.network], gradient_as_bucket_view=True)
        return {**self.networks, phase.network: own}

    def run(self) -> dict[str, Any]:
        """Train to the end, from the last checkpoint if there is one, and return the summary."""
        self._write("event", seconds=self.progress.seconds, name="start", total_steps=self.total_steps, steps_per_epoch=self.steps_per_epoch)
        started = time.perf_counter() - self.progress.seconds
        while not self.progress.stopped:
            self.progress.loss = self._epoch(started)
            metrics = self._validate()
            better = self._judge(metrics)
            self.progress.seconds = time.perf_counter() - started
            self._write("epoch", seconds=self.progress.seconds, **metrics)
            self.progress.stopped = self._why_stop()
            self._save(metrics, best=better)
        if self.spec.trainer.overfit_one_batch and self.progress.loss > OVERFIT_LOSS * 5:
            raise RunError(
                f"the model cannot overfit one batch: its loss is still {self.progress.loss:.4f} after {self.progress.step} steps "
                f"(expected below {OVERFIT_LOSS * 5}). "
                "Look at the learning rate, the labels' alignment with the inputs, and frozen or unused parameters."
            )
        return self._summary()

    def resume(self) -> None:
        """Take up the last checkpoint, if there is one."""
        last = self.checkpoints.path("last")
        if last is None:
            return
        checkpoint.verify(last)
        checkpoint.load_weights(last, self.model)
        state = checkpoint.load_state(last)
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        self.scaler.load_state_dict(state["scaler"])
        self.progress = Progress(**state["progress"])
        self.carry = {k: v.to(self.session.device) for k, v in state["carry"][self.session.rank].items()}

    def _epoch(self, started: float) -> float:
        """Make one epoch's steps and return the mean of the steps' losses."""
        epoch = self.progress.epoch
        torch.manual_seed(_mix(self.spec.seed, epoch, self.session.rank))  # a run resumed at this epoch draws what an uninterrupted one draws
        for network in self.networks.values():
            network.train()
        self._logged_at, self._logged_step = time.perf_counter(), self.progress.step
        total, steps = 0.0, 0
        clock = time.perf_counter()
        for batch, draws, weight in self._batches(epoch):
            fetched = time.perf_counter()
            self.progress.spent["data_wait"] += fetched - clock
            gradient_norm = self._step(batch, draws, weight)
            clock = time.perf_counter()
            self.progress.spent["forward_backward"] += clock - fetched
            last = self.progress.step >= self.total_steps
            if last or self.progress.step % self.spec.trainer.log_every_steps == 0:
                total, steps = self._log_step(total, steps, started, gradient_norm)
            if last:
                break
        if self.progress.step > self._logged_step:
            total, steps = self._log_step(total, steps, started, gradient_norm)
        self.progress.epoch += 1
        return total / max(1, steps)

    def _batches(self, epoch: int) -> Iterator[tuple[Batch, Draws, float]]:
        if not self.spec.trainer.overfit_one_batch:
            yield from self.training.training(epoch)
            return
        yield next(self.training.training(epoch=0))

    def _step(self, batch: Batch, draws: Draws, weight: float) -> Tensor | None:
        """One optimizer step of every phase. Returns the last phase's gradient norm where clipping measured it."""
        norm = None
        for phase in self.task.phases:
            context = StepContext(phase, draws, self.progress.step, self.progress.epoch, self.carry)
            optimizer = self.optimizers[phase.name]
            for group, rate in zip(optimizer.param_groups, self.base_rates[phase.name], strict=True):
                group["lr"] = rate * self.factor(self.progress.step)
            self._freeze_all_but(phase)
            counts = self._global_counts(self.task.counts(batch, context), weight)
            with self._autocast():
                sums = self.task.losses(self.wrapped[phase.name], batch, context)
            terms = [sums[k] / counts[k] for k in sums]
            share = terms[0] if len(terms) == 1 else torch.stack(terms).sum()
            loss = share if self.session.world == 1 else share * (weight * self.session.world)
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            if self.spec.trainer.clip_norm is not None:
                self.scaler.unscale_(optimizer)
                norm = nn.utils.clip_grad_norm_(self.networks[phase.network].parameters(), self.spec.trainer.clip_norm)
            self.scaler.step(optimizer)
            self.scaler.update()
            optimizer.zero_grad(set_to_none=True)
            self._logged_loss += share.detach() if weight == 1.0 else share.detach() * weight
        self.progress.step += 1
        return norm

    def _autocast(self) -> AbstractContextManager[object]:
        dtype = _AUTOCAST.get(self.spec.trainer.precision)
        return nullcontext() if dtype is None else torch.autocast(self.session.device.type, dtype)

    def _freeze_all_but(self, phase: Phase) -> None:
        """Only a phase's own network takes gradients, but for what its author froze; with one network there is nothing to freeze."""
        if len(self.networks) > 1:
            for name, parameters in self.trainable.items():
                for parameter in parameters:
                    parameter.requires_grad_(name == phase.network)

    def _global_counts(self, counts: dict[str, Tensor | float], weight: float) -> Mapping[str, Tensor | float]:
        """Sum the terms' denominators over the ranks; a term that counts nothing divides by one (one that counts .5 of a weight, by .5)."""
        if self.session.world == 1:
            return {k: torch.where(v == 0, 1.0, v) if isinstance(v, Tensor) else v or 1.0 for k, v in counts.items()}
        own = torch.stack([torch.as_tensor(v, dtype=torch.float32, device=self.session.device) for v in counts.values()])
        summed = sum_over_ranks(self.session, own * weight)
        return dict(zip(counts, torch.where(summed == 0, 1.0, summed), strict=True))

    def _log_step(self, total: float, steps: int, started: float, gradient_norm: Tensor | None) -> tuple[float, int]:
        """Journal the mean loss since the last record and stop a run whose loss is no number any more."""
        summed = sum_over_ranks(self.session, self._logged_loss.clone())
        count = self.progress.step - self._logged_step
        loss = float(summed) / max(1, count)
        if not math.isfinite(loss):
            rates = {name: o.param_groups[0]["lr"] for name, o in self.optimizers.items()}
            raise RunError(
                f"the training loss is {loss} between steps {self._logged_step} and {self.progress.step} "
                f"(epoch {self.progress.epoch}, learning rates {rates}). "
                "The last checkpoint is unharmed. Try a lower learning rate (optimizer.lr) or trainer.clip_norm=1."
            )
        now = time.perf_counter()
        speed = count * self.spec.trainer.batch_size / max(1e-9, now - self._logged_at)
        rate = next(iter(self.optimizers.values())).param_groups[0]["lr"]
        extra = {} if gradient_norm is None else {"gradient_norm": float(gradient_norm)}
        self._write("step", seconds=now - started, loss=loss, learning_rate=rate, samples_per_second=speed, **extra)
        self._logged_loss.zero_()
        self._logged_at, self._logged_step = now, self.progress.step
        return total + loss * count, steps + count

    def _validate(self) -> dict[str, float]:
        """Return the epoch's scalar metrics, equal on every rank."""
        clock = time.perf_counter()
        take_from_rank_0(self.session, self.model.buffers())  # running means differ; what is validated must be what rank 0 saves
        options = self.spec.evaluate
        found = evaluate(self.session, self.task, self.networks, self.validation, options.batch_size, options.max_batches)
        self.progress.spent["validation"] += time.perf_counter() - clock
        scalars = {f"validation/{k}": float(v) for k, v in found.items() if isinstance(v, (int, float))}
        return {"train/loss": self.progress.loss, **scalars}

    def _judge(self, metrics: dict[str, float]) -> bool:
        """Note whether the monitored metric is the best so far."""
        monitor = self.spec.trainer.monitor
        if monitor.metric not in metrics:
            names = ", ".join(sorted(metrics))
            raise UserError("trainer.monitor.metric is not reported by this experiment", received=monitor.metric, expected=f"one of: {names}")
        value, best = metrics[monitor.metric], self.progress.best_value
        better = math.isfinite(value) and (best is None or (value > best if monitor.mode == "max" else value < best))
        if better:
            self.progress.best_value, self.progress.best_step = value, self.progress.step
        self.progress.epochs_without_best = 0 if better else self.progress.epochs_without_best + 1
        return better

    def _why_stop(self) -> str:
        trainer, progress = self.spec.trainer, self.progress
        if trainer.overfit_one_batch and progress.loss < OVERFIT_LOSS:
            return f"the loss of one batch fell below {OVERFIT_LOSS}"
        if progress.step >= self.total_steps:
            return "all steps made"
        if trainer.patience_epochs is not None and progress.epochs_without_best >= trainer.patience_epochs:
            return f"no better {trainer.monitor.metric} for {trainer.patience_epochs} epochs"
        return ""

    def _save(self, metrics: dict[str, float], *, best: bool) -> None:
        """Rank 0 writes; the others go on, because nothing that they do next touches what it reads."""
        carries = gather(self.session, {k: v.detach().cpu() for k, v in self.carry.items()})  # each rank has its own samples' carry
        if self.session.rank != 0:
            return
        clock = time.perf_counter()
        state = {
            "optimizers": {name: o.state_dict() for name, o in self.optimizers.items()},
            "scaler": self.scaler.state_dict(),
            "progress": asdict(self.progress),
            "carry": carries,
        }
        meta = {"epoch": self.progress.epoch, "metrics": metrics, "world": self.session.world, "stopped": self.progress.stopped}
        self.checkpoints.save(self.progress.step, self.model, state, meta, best=best or self.checkpoints.path("best") is None)
        self.progress.spent["checkpoint"] += time.perf_counter() - clock

    def _summary(self) -> dict[str, Any]:
        progress, monitor = self.progress, self.spec.trainer.monitor
        busy = progress.spent["data_wait"] + progress.spent["forward_backward"]
        epochs, rest = divmod(progress.step, self.steps_per_epoch)
        rows = min(self.training.rows, self.steps_per_epoch * self.spec.trainer.batch_size)  # the last batch of an epoch may be short
        samples = epochs * rows + rest * self.spec.trainer.batch_size
        return {
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "steps": progress.step,
            "epochs": progress.epoch,
            "workers": self.session.world,
            "samples_per_second": samples / busy if busy else 0.0,
            "seconds": {"total": progress.seconds, **progress.spent},
            "best": {"metric": monitor.metric, "value": progress.best_value, "step": progress.best_step},
            "stopped": progress.stopped,
        }

    def _write(self, kind: str, **fields: Any) -> None:
        if self.journal is not None:
            self.journal.write(kind, step=self.progress.step, epoch=self.progress.epoch, **fields)


def _mix(seed: int, epoch: int, rank: int) -> int:
    """One 63-bit seed from three small numbers, without collisions for epochs and ranks below a million."""
    return (seed * 1_000_003 + epoch) * 1_000_003 + rank & (2**63 - 1)
