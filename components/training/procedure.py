"""What is fitted without gradient steps: a solver, a walk through an environment, several trainings combined.

A procedure fills the model's weights; what a prediction is, what is measured and what the report shows stays the task's.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from components.spec.schema import Spec
from components.spec.targets import build
from components.tasks.base import Task
from components.training import strategy
from components.training.evaluator import evaluate
from components.training.generators import seed_generators
from components.training.inputs import Inputs
from components.training.journal import Journal
from components.training.judge import note_best
from components.training.place import Place
from components.training.progress import Progress
from components.training.saving import Saver
from components.training.system import build_system


@dataclass
class Work:
    """What a procedure is given.

    Args:
        spec: the run's specification.
        place: session, data, and a directory in which it may keep what it wants to find again when the same command is run again.
        task: what is to be predicted.
        model: whose weights are to be filled, on the session's device.
        training: the training split.
    """

    spec: Spec
    place: Place
    task: Task
    model: nn.Module
    training: Inputs
    journal: Journal | None = None
    step: int = 0
    started: float = field(default_factory=time.perf_counter)

    def log(self, **figures: float) -> None:
        """Count a step and record its figures; every rank calls, rank 0 writes."""
        self.step += 1
        if self.journal is not None:
            self.journal.write("step", step=self.step, epoch=0, seconds=self.seconds, **figures)

    @property
    def seconds(self) -> float:
        """Since the work began."""
        return time.perf_counter() - self.started


class Procedure(ABC):
    """Another way than gradient steps to fill a model's weights."""

    @abstractmethod
    def fit(self, work: Work) -> None:
        """Fill `work.model`'s parameters and buffers, with the same values on every rank."""


def carry_out(spec: Spec, place: Place) -> dict[str, Any]:
    """Let the specification's procedure fit the model, validate it, write its only checkpoint; return the summary."""
    assert spec.procedure is not None
    procedure: Procedure = build(spec.procedure)
    with closing(place.inputs("train", spec)) as training:
        card = training.dataset.card
        seed_generators(spec.seed, place.session.rank)
        model, task = build_system(spec, card, place.session, place.upstream)
        with place.journal(0) as journal:
            work = Work(spec, place, task, model, training, journal)
            procedure.fit(work)
            metrics = _validate(work)
            if journal is not None:
                journal.write("epoch", step=work.step, epoch=1, seconds=work.seconds, **metrics)
    return _finish(work, metrics, card.content_sha256)


def _validate(work: Work) -> dict[str, float]:
    """The figures of the validation split, equal on every rank."""
    spec, place = work.spec, work.place
    with closing(place.inputs("validation", spec)) as validation:
        found = evaluate(place.session, work.task, work.task.split(work.model), validation, spec.evaluate)
    return {f"validation/{name}": float(value) for name, value in found.items() if isinstance(value, (int, float))}


def _finish(work: Work, metrics: dict[str, float], data_sha256: str) -> dict[str, Any]:
    """Rank 0 writes the checkpoint; every rank returns the summary."""
    spec, place = work.spec, work.place
    progress = Progress(step=work.step, epoch=1, stopped="the procedure ended", seconds=work.seconds)
    monitor = spec.trainer.monitor
    note_best(progress, metrics, monitor)
    if place.session.rank == 0:
        checkpoints = place.checkpoints()
        saver = Saver(place.session, spec, data_sha256, checkpoints, place.origin)
        checkpoints.save(work.step, {"model": strategy.model_state(work.model)}, {}, saver.meta(progress, metrics), best=True)
    return {
        "parameters": sum(p.numel() for p in work.model.parameters()),
        "steps": work.step,
        "epochs": 1,
        "workers": place.session.world,
        "samples_per_second": work.training.rows / work.seconds,
        "seconds": {"total": work.seconds},
        "best": {"metric": monitor.metric, "value": progress.best_value, "step": work.step},
        "stopped": progress.stopped,
    }
