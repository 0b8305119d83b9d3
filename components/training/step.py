"""One training step: every phase's forward, backward and update, in the one order that there is.

    counts over micro-batches and ranks -> for each micro-batch: forward, backward (gradients exchanged after the last one only)
    -> unscale -> clip -> finite? -> optimizer      [phase after phase]
    -> scaler -> average of the weights -> zero     [once]

The loss of a step is, over all terms, (sum over the global batch) / (count over the global batch), whatever the number of workers and micro-batches;
DDP averages gradients over workers, so each worker multiplies its share by their number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from components.errors import RunError, UserError, nearest
from components.layers.dropout import hand_draws, stochastic_layers
from components.optim.ema import Ema
from components.optim.groups import freeze, parameter_groups
from components.spec.schema import PhaseSpec, Spec, Target
from components.spec.targets import build
from components.tasks.base import MicroBatch, Phase, StepContext, Task, no_scores
from components.training import strategy
from components.training.agreement import Agreement
from components.training.notices import Notice
from components.training.session import Session, take_from_rank_0

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class NonFinite(Exception):
    """A gradient is no number. The weights have not been touched by this phase.

    Args:
        phase: whose gradient it is.
        gradient_norm: over all ranks.
        parts: this rank's share of each loss term.
    """

    def __init__(self, phase: str, gradient_norm: float, parts: Mapping[str, float]) -> None:
        super().__init__(f"phase {phase}: gradient norm {gradient_norm}")
        self.phase, self.gradient_norm, self.parts = phase, gradient_norm, parts


class Observer(Protocol):
    """Who looks at a step from inside (components/training/watch)."""

    def losses(self, phase: str, terms: Mapping[str, Tensor]) -> None: ...

    def scores(self, network: str, real: Tensor, fake: Tensor) -> None: ...

    def gradients(self, phase: str, network: str) -> None: ...

    def updated(self, phase: str, network: str) -> None: ...


@dataclass
class StepResult:
    """What a step tells."""

    loss: Tensor  # this rank's share of the global mean, summed over terms and phases
    parts: dict[str, Tensor] = field(default_factory=dict)  # the same, term by term
    gradient_norm: Tensor | None = None  # of the last phase, before clipping
    notice: Notice = Notice.NONE  # agreed by all ranks


class Stepper:
    """Makes training steps of one model.

    Args:
        session: rank, world, device, notices.
        spec: the run's specification.
        task: what a step means.
        model: on the session's device; it is prepared (frozen, sharded, compiled) here.
        factor: the schedule, `step -> factor of the learning rate`.

    Raises:
        UserError: `phases` names a phase that the task does not have, or a pattern of `parameters` matches nothing.
        RunError: a phase has nothing to train.
    """

    def __init__(self, session: Session, spec: Spec, task: Task, model: nn.Module, factor: Callable[[int], float]) -> None:
        self.session, self.spec, self.task, self.factor = session, spec, task, factor
        freeze(model, spec.parameters.frozen)
        self.model = strategy.prepare(model, spec, session, task)
        self.networks = task.split(self.model)
        self.trainable = {name: [p for p in network.parameters() if p.requires_grad] for name, network in self.networks.items()}
        self._require_phases()
        self.optimizers = {phase.name: self._optimizer(phase) for phase in task.phases}
        self.base_rates = {name: [g["lr"] * g["rate_factor"] for g in o.param_groups] for name, o in self.optimizers.items()}
        self.wrapped = {phase.name: strategy.wrap(self.networks, phase, spec, session) for phase in task.phases}
        self.scaler = torch.amp.GradScaler(session.device.type, enabled=spec.trainer.precision == "fp16")
        self.ema = Ema(self.model, spec.trainer.ema_decay) if spec.trainer.ema_decay is not None else None
        self.carry: list[dict[str, Tensor]] = [{} for _ in range(spec.trainer.accumulate)]  # one a micro-batch
        self._stochastic = stochastic_layers(self.model)
        self._agreement = Agreement(session)

    def _require_phases(self) -> None:
        """Backpropagation and DDP would both fail on a network without a single trainable parameter, and say less."""
        names = [phase.name for phase in self.task.phases]
        for name in self.spec.phases:
            if name not in names:
                raise UserError(
                    f"this task has no phase '{name}'{nearest(name, names)}", received=f"phases.{name}", expected=f"one of: {', '.join(names)}"
                )
        for phase in self.task.phases:
            if not self.trainable[phase.network]:
                raise RunError(f"phase '{phase.name}' has nothing to train: every parameter of its network '{phase.network}' is frozen")

    def _own(self, phase: Phase) -> PhaseSpec:
        return self.spec.phases.get(phase.name, PhaseSpec())

    def _optimizer(self, phase: Phase) -> torch.optim.Optimizer:
        options = {**self.spec.optimizer.options, **self._own(phase).optimizer}
        own = set(self.trainable[phase.network])  # patterns are of the model's names, whatever network they fall into
        groups = [{**group, "params": [p for p in group["params"] if p in own]} for group in parameter_groups(self.model, self.spec.parameters)]
        optimizer: torch.optim.Optimizer = build(Target(self.spec.optimizer.name, options), params=[g for g in groups if g["params"]])
        return optimizer

    def rates(self) -> dict[str, float]:
        """The learning rate of each phase's first group, as the last step used it."""
        return {name: float(o.param_groups[0]["lr"]) for name, o in self.optimizers.items()}

    def step(self, parts: Sequence[MicroBatch], step: int, epoch: int, observer: Observer | None = None) -> StepResult:
        """Make one optimizer step of every phase that is due.

        Args:
            parts: this rank's micro-batches; together with those of the other ranks they are the global batch.
            step: optimizer steps made before this one.
            epoch: finished epochs.

        Raises:
            NonFinite: a gradient is no number; the phase's weights are as they were.
        """
        result = StepResult(torch.zeros((), device=self.session.device))
        for phase in self.task.phases:
            if step % self._own(phase).every_steps == 0:
                self._set_rates(phase, step)
                self._freeze_all_but(phase)
                self._backward(phase, parts, step, epoch, result, observer)
                result.gradient_norm = self._update(phase, step, result, observer)
        self.scaler.update()
        if self.ema is not None:
            self.ema.update(self.model)
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        result.notice = self._agreement.notice
        return result

    def _set_rates(self, phase: Phase, step: int) -> None:
        factor = self.factor(step)
        for group, rate in zip(self.optimizers[phase.name].param_groups, self.base_rates[phase.name], strict=True):
            group["lr"] = rate * factor

    def _freeze_all_but(self, phase: Phase) -> None:
        """Only a phase's own network takes gradients, but for what its author froze; with one network there is nothing to freeze."""
        if len(self.networks) > 1:
            for name, parameters in self.trainable.items():
                for parameter in parameters:
                    parameter.requires_grad_(name == phase.network)

    def _backward(self, phase: Phase, parts: Sequence[MicroBatch], step: int, epoch: int, result: StepResult, observer: Observer | None) -> None:
        networks = self.wrapped[phase.name]
        if self.spec.performance.strategy == "fsdp":  # as DDP does: else a rank's running means would be its own, and a checkpoint has rank 0's
            take_from_rank_0(self.session, networks[phase.network].buffers())
        scores = no_scores if observer is None else observer.scores
        contexts = [StepContext(phase, part.draws, step, epoch, carry, scores) for part, carry in zip(parts, self.carry, strict=True)]
        counts = self._agreement.total([self.task.counts(p.batch, c) for p, c in zip(parts, contexts, strict=True)], [p.weight for p in parts])
        for part, context in zip(parts, contexts, strict=True):
            hand_draws(self._stochastic, part.draws)
            with strategy.exchanging(networks[phase.network], now=part is parts[-1]):
                with self._autocast():
                    sums = self.task.losses(networks, strategy.laid_out(part.batch, self.spec), context)
                terms = {name: sums[name] / counts[name] for name in sums}
                share = next(iter(terms.values())) if len(terms) == 1 else torch.stack(list(terms.values())).sum()
                scale = part.weight * self.session.world
                self.scaler.scale(share if scale == 1.0 else share * scale).backward()  # type: ignore[no-untyped-call]
            self._note(result, phase, terms, share, part.weight)
            if observer is not None:
                observer.losses(phase.name, terms)

    def _note(self, result: StepResult, phase: Phase, terms: Mapping[str, Tensor], share: Tensor, weight: float) -> None:
        """Add a micro-batch's share to what the step tells."""
        counted = {k: v.detach() if weight == 1.0 else v.detach() * weight for k, v in {**terms, "": share}.items()}
        result.loss += counted.pop("")
        prefix = f"{phase.name}/" if len(self.task.phases) > 1 else ""
        for name, value in counted.items():
            key = prefix + name
            result.parts[key] = result.parts[key] + value if key in result.parts else value

    def _autocast(self) -> AbstractContextManager[object]:
        dtype = _AUTOCAST.get(self.spec.trainer.precision)
        return nullcontext() if dtype is None else torch.autocast(self.session.device.type, dtype)

    def _update(self, phase: Phase, step: int, result: StepResult, observer: Observer | None) -> Tensor | None:
        """From gradients to weights: unscale, clip, check, step. Returns the gradients' norm where it was measured."""
        optimizer, parameters = self.optimizers[phase.name], self.trainable[phase.network]
        self.scaler.unscale_(optimizer)
        norm = self._clip(parameters, measure=step % self.spec.watch.finite_every_steps == 0)
        if norm is not None and not self.scaler.is_enabled() and not math.isfinite(value := norm.item()):
            raise NonFinite(phase.name, value, {name: float(part) for name, part in result.parts.items()})
        if observer is not None:
            observer.gradients(phase.name, phase.network)
        self.scaler.step(optimizer)  # with fp16, a step whose gradients overflow is left out here
        if observer is not None:
            observer.updated(phase.name, phase.network)
        return norm

    def _clip(self, parameters: list[nn.Parameter], *, measure: bool) -> Tensor | None:
        """Clip by norm, then by value, and return the norm before clipping; without clipping it is measured when asked for."""
        trainer, norm = self.spec.trainer, None
        if measure or trainer.clip_norm is not None:
            norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if trainer.clip_norm is not None:
            assert norm is not None
            nn.utils.clip_grads_with_norm_(parameters, trainer.clip_norm, norm)
        if trainer.clip_value is not None:
            nn.utils.clip_grad_value_(parameters, trainer.clip_value)
        return None if norm is None else strategy.full(norm)

    def averaged(self) -> AbstractContextManager[object]:
        """Within it the model has the averaged weights, where they are averaged: these are what is evaluated."""
        return nullcontext() if self.ema is None else self.ema.swapped(self.model)

    def state(self, *, keep: bool = True) -> dict[str, Any]:
        """Everything but the weights, whole and on any device. Every rank must ask, and only those that `keep` may use it."""
        return {
            "optimizers": {name: strategy.optimizer_state(o, keep=keep) for name, o in self.optimizers.items()},
            "scaler": self.scaler.state_dict(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take what `state` gave."""
        for name, optimizer in self.optimizers.items():
            strategy.load_optimizer_state(optimizer, state["optimizers"][name])
        self.scaler.load_state_dict(dict(state["scaler"]))
