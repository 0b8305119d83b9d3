"""What the checks look at: a specification, its data, and a fresh copy of its model whenever one is asked for."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from components.data.card import Card
from components.data.checks import check
from components.data.draws import Draws
from components.errors import UserError
from components.spec.schema import PerformanceSpec, Spec
from components.spec.targets import build
from components.tasks.base import Batch, MicroBatch, Networks, Phase, StepContext, Task
from components.training.doctor.finding import Skipped
from components.training.inputs import Inputs
from components.training.session import Session
from components.training.step import Stepper
from components.training.system import build_system

Rows = npt.NDArray[np.int64]
System = Callable[[Spec, Card, Session], tuple[nn.Module, Task]]
_WARM_UP_STEPS = 10


class Patient:
    """A system and its data. Everything that it gives is a function of the specification's seed.

    Args:
        session: where the checks run; one process.
        spec: the run's specification. The checks train with one worker's micro-batch, without averaging or compiling.
        directory: the prepared data set.
        system: builds the model and its task.
    """

    def __init__(self, session: Session, spec: Spec, directory: Path, system: System = build_system) -> None:
        self.session, self.directory = session, directory
        self.spec = _one_worker(spec)
        self.training, self.validation = Inputs(directory, "train", self.spec, session), Inputs(directory, "validation", self.spec, session)
        self.card = self.training.dataset.card
        self._system = system
        self._always = [build(t, card=self.card).to(session.device) for t in spec.augment.always]

    def system(self) -> tuple[nn.Module, Task]:
        """Return the model, with the weights that a run starts from, and its task."""
        return self._system(self.spec, self.card, self.session)

    def stepper(self, model: nn.Module, task: Task) -> Stepper:
        """Return what makes training steps, with the specification's optimizer.

        The rate rises over ten steps and stays, whatever `schedule` says: a warm-up of a thousand steps would not end before the check does.
        """
        return Stepper(self.session, self.spec, task, model, lambda step: min(1.0, (step + 1) / _WARM_UP_STEPS))

    def rows(self, count: int, split: str = "train") -> Rows:
        """Return `count` different row numbers of a split in random order, or all where it has fewer."""
        return np.random.default_rng(self.spec.seed).permutation(self._of(split).rows)[:count].astype(np.int64)

    def raw(self, rows: Rows, split: str = "train") -> Batch:
        """Return rows as they are stored, on the device."""
        return {k: v.to(self.session.device) for k, v in self._of(split).dataset.fetch(rows).items()}

    def batch(self, rows: Rows, split: str = "train") -> Batch:
        """Return rows as evaluation sees them: after the `always` transforms, without those of training."""
        return self.transformed(self.raw(rows, split))

    @torch.no_grad()
    def transformed(self, batch: Batch) -> Batch:
        """Apply the `always` transforms."""
        for transform in self._always:
            batch = transform(batch, self.draws(batch))
        return batch

    def draws(self, batch: Batch, epoch: int = 0) -> Draws:
        """Return the random numbers of a batch's samples."""
        return Draws(self.spec.seed, epoch, batch["sample_id"])

    def steps(self, count: int) -> Iterator[list[MicroBatch]]:
        """Yield what the loader gives to the first `count` steps, over as many epochs as that takes."""
        epochs = itertools.chain.from_iterable(self.training.training(epoch) for epoch in itertools.count())
        yield from itertools.islice(epochs, count)

    def close(self) -> None:
        """End the processes that fetch, if there are any."""
        self.training.close()
        self.validation.close()

    def sums(self, task: Task, networks: Networks, batch: Batch, phase: Phase) -> dict[str, Tensor]:
        """Return the loss terms of a batch, outside any training step."""
        return task.losses(networks, batch, StepContext(phase, self.draws(batch), 0, 0))

    def counts(self, task: Task, batch: Batch, phase: Phase) -> dict[str, float]:
        """Return the loss terms' denominators."""
        return {name: float(count) for name, count in task.counts(batch, StepContext(phase, self.draws(batch), 0, 0)).items()}

    @torch.no_grad()
    def mean_loss(self, model: nn.Module, task: Task, batch: Batch) -> float:
        """Return the loss of a batch in evaluation mode: sum over terms of (sum / count), of the first phase."""
        networks, phase = evaluating(model, task), task.phases[0]
        sums, counts = self.sums(task, networks, batch, phase), self.counts(task, batch, phase)
        return sum(float(value) / (counts[name] or 1.0) for name, value in sums.items())

    @functools.cached_property
    def checked(self) -> dict[str, Any]:
        """The content of the check stage's check.json (components/data/checks.py), made in a temporary folder."""
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder)
            # A fault in the data is a finding here. Where the check could not even write its file, nothing can be said: that stays an error.
            with suppress(UserError):
                return check(self.directory, self.spec.check, output)
            if not (output / "check.json").is_file():
                self.training.dataset.verify()
            result: dict[str, Any] = json.loads((output / "check.json").read_text())
            return result

    def _of(self, split: str) -> Inputs:
        return {"train": self.training, "validation": self.validation}[split]


def evaluating(model: nn.Module, task: Task) -> dict[str, nn.Module]:
    """Return the task's networks in evaluation mode."""
    return {name: network.eval() for name, network in task.split(model).items()}


def one_phase(task: Task) -> None:
    """Skip a check that watches a loss fall: of two phases that play against each other none has to."""
    if len(task.phases) > 1:
        raise Skipped(f"the task has {len(task.phases)} phases, whose losses need not fall")


def real_inputs(batch: Batch) -> Tensor:
    """Return the batch's `inputs` as floating-point numbers; bytes are taken for numbers, wider integers for tokens.

    Raises:
        Skipped: there are none, or they are tokens.
    """
    inputs = batch.get("inputs")
    if inputs is None:
        raise Skipped("the batch has no column 'inputs'")
    if inputs.dtype != torch.uint8 and not inputs.is_floating_point():
        raise Skipped(f"inputs are {inputs.dtype}, no real numbers")
    return inputs if inputs.is_floating_point() else inputs.float()


def _one_worker(spec: Spec) -> Spec:
    """The specification as one worker's micro-batch in one process: what fits there into memory fits here."""
    parts = spec.cluster.workers * spec.trainer.accumulate
    trainer = dataclasses.replace(spec.trainer, batch_size=spec.trainer.batch_size // parts, accumulate=1, ema_decay=None)
    loading = {name: getattr(spec.performance, name) for name in ("prefetch_batches", "loader_workers")}
    return dataclasses.replace(spec, trainer=trainer, performance=PerformanceSpec(**loading))
