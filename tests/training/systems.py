"""What the tests train, and the functions that worker processes run. Top-level, so that a spawned process finds them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from components.data.card import load_card
from components.metrics.base import Metric
from components.spec.parse import parse_spec
from components.tasks.base import Batch, Networks, Phase, StepContext, Task
from components.tasks.classification import Classification
from components.training import checkpoint, journal
from components.training.checkpoint import Checkpoints
from components.training.evaluator import evaluate
from components.training.inputs import Inputs
from components.training.jobs import build_system
from components.training.loop import Loop
from components.training.session import Session

Plain = dict[str, Any]
System = Callable[[Any, Any, Session], tuple[nn.Module, Task]]  # (spec, card, session), as jobs.build_system


class Interrupted(Exception):
    """Stands for a kill: it comes out of the middle of a step."""


def train(session: Session, plain: Plain, data: Path, directory: Path, system: System = build_system, stop_at: int | None = None) -> Plain:
    """components.training.jobs.train with a system of the tests' own, interrupted before the step `stop_at`.

    Returns:
        summary (None when interrupted), journal (records), weights (of this rank's model), carry, notes (of the task).
    """
    spec = parse_spec(plain)
    training, validation = Inputs(data, "train", spec, session), Inputs(data, "validation", spec, session)
    model, task = system(spec, training.dataset.card, session)
    if stop_at is not None:
        _interrupt(task, stop_at)
    loop = Loop(session, spec, task, model, training, validation, Checkpoints(directory / "checkpoints"), None)
    loop.resume()
    if session.rank == 0:
        journal.rewind(directory / "metrics.jsonl", loop.progress.step)
        loop.journal = journal.Journal(directory / "metrics.jsonl")
    try:
        summary: Plain | None = loop.run()
    except Interrupted:
        summary = None
    state = {k: v.detach().clone() for k, v in model.state_dict().items()}
    records = journal.read(directory / "metrics.jsonl")
    return {"summary": summary, "journal": records, "weights": state, "carry": loop.carry, "notes": getattr(task, "notes", {})}


def _interrupt(task: Task, step: int) -> None:
    losses = task.losses

    def stopping(networks: Networks, batch: Batch, context: StepContext) -> dict[str, Tensor]:
        if context.step == step:
            raise Interrupted
        return losses(networks, batch, context)

    task.losses = stopping  # type: ignore[method-assign]


def evaluate_checkpoint(session: Session, plain: Plain, data: Path, directory: Path, system: System = build_system) -> Plain:
    """The scalars of one pass over the validation split with a saved checkpoint's weights."""
    spec, card = parse_spec(plain), load_card(data)
    model, task = system(spec, card, session)
    checkpoint.load_weights(directory, model)
    found = evaluate(session, task, task.split(model), Inputs(data, "validation", spec, session), spec.evaluate.batch_size)
    return {f"validation/{k}": float(v) for k, v in found.items() if isinstance(v, (int, float))}


def classifier(model: nn.Module, spec: Any, card: Any, session: Session) -> tuple[nn.Module, Task]:
    """A model of the tests beside the configured loss and task."""
    return model, build_system(spec, card, session)[1]


def linear(spec: Any, card: Any, session: Session) -> tuple[nn.Module, Task]:
    torch.manual_seed(spec.seed)
    return classifier(nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 3)), spec, card, session)


def dropout(spec: Any, card: Any, session: Session) -> tuple[nn.Module, Task]:
    torch.manual_seed(spec.seed)
    return classifier(nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Dropout(0.5), nn.Linear(16, 3)), spec, card, session)


def normalised(spec: Any, card: Any, session: Session) -> tuple[nn.Module, Task]:
    """With batch normalisation: its running means differ from rank to rank."""
    torch.manual_seed(spec.seed)
    return classifier(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64, momentum=0.5), nn.Linear(64, 3)), spec, card, session)


def frozen(spec: Any, card: Any, session: Session) -> tuple[nn.Module, Task]:
    """Nothing can be learned."""
    model, task = linear(spec, card, session)
    model.requires_grad_(False)
    return model, task


def almost_frozen(spec: Any, card: Any, session: Session) -> tuple[nn.Module, Task]:
    """Only the last bias can be learned, which is not enough for a batch of several classes."""
    model, task = frozen(spec, card, session)
    model[3].bias.requires_grad_(True)
    return model, task


class Poisoned(Classification):
    """The loss is no number from step 8 on."""

    def losses(self, networks: Networks, batch: Batch, context: StepContext) -> dict[str, Tensor]:
        factor = float("nan") if context.step >= 8 else 1.0
        return {k: v * factor for k, v in super().losses(networks, batch, context).items()}


def poisoned(spec: Any, card: Any, session: Session) -> tuple[nn.Module, Task]:
    model, task = linear(spec, card, session)
    return model, Poisoned(task.loss, card)


class Weighted(Classification):
    """Two terms with denominators of their own: samples weigh a quarter; and samples of class 2, of which a batch may have none."""

    def counts(self, batch: Batch, context: StepContext) -> dict[str, Tensor | float]:
        return {"all": 0.25 * super().counts(batch, context)["loss"], "rare": (batch["targets"] == 2).sum()}

    def losses(self, networks: Networks, batch: Batch, context: StepContext) -> dict[str, Tensor]:
        each = self.loss(networks["model"](batch["inputs"]), batch["targets"])
        return {"all": 0.25 * each.sum(), "rare": each[batch["targets"] == 2].sum()}


def weighted(spec: Any, card: Any, session: Session) -> tuple[nn.Module, Task]:
    model, task = linear(spec, card, session)
    return model, Weighted(task.loss, card)


class Carrying(Classification):
    """Carries the sum of the sample ids that its rank has seen."""

    def losses(self, networks: Networks, batch: Batch, context: StepContext) -> dict[str, Tensor]:
        context.carry["seen"] = context.carry.get("seen", torch.zeros((), dtype=torch.int64)) + batch["sample_id"].sum()
        return super().losses(networks, batch, context)


def carrying(spec: Any, card: Any, session: Session) -> tuple[nn.Module, Task]:
    model, task = linear(spec, card, session)
    return model, Carrying(task.loss, card)


class ToyGan(nn.Module):
    """A generator (4 -> 64) and a discriminator (64 -> 1), linear, whose last bias is frozen by its author."""

    def __init__(self, *, normalise: bool) -> None:
        super().__init__()
        self.generator = nn.Linear(4, 64)
        self.discriminator = nn.Sequential(nn.BatchNorm1d(64) if normalise else nn.Identity(), nn.Linear(64, 1))
        self.discriminator[1].bias.requires_grad_(False)


class GanTask(Task):
    """Goodfellow et al. 2014 with the non-saturating generator loss; noise comes from the samples' own draws.

    It notes for the tests what the loop told it, and which network had moved since the phase before.
    """

    phases = (Phase("discriminator", "discriminator"), Phase("generator", "generator"))

    def __init__(self) -> None:
        self.notes: dict[str, list[Any]] = {"phases": [], "moved": []}
        self._before: dict[str, Tensor] = {}

    def split(self, model: nn.Module) -> dict[str, nn.Module]:
        return {"generator": model.generator, "discriminator": model.discriminator}  # type: ignore[dict-item]

    def counts(self, batch: Batch, context: StepContext) -> dict[str, Tensor | float]:
        return {"loss": torch.tensor(float(len(batch["inputs"])))}

    def losses(self, networks: Networks, batch: Batch, context: StepContext) -> dict[str, Tensor]:
        self._note(networks, context)
        generator, discriminator = networks["generator"], networks["discriminator"]
        fake = generator(context.draws.normal(f"noise of {context.phase.name}", 4))
        if context.phase.name == "generator":
            return {"loss": nn.functional.softplus(-discriminator(fake)).sum()}
        real = batch["inputs"].flatten(1)
        return {"loss": (nn.functional.softplus(-discriminator(real)) + nn.functional.softplus(discriminator(fake))).sum()}

    def _note(self, networks: Networks, context: StepContext) -> None:
        now = {name: nn.utils.parameters_to_vector(network.parameters()).detach().clone() for name, network in networks.items()}
        self.notes["phases"].append((context.step, context.phase.name))
        if self._before:
            self.notes["moved"].append({name for name in now if not torch.equal(now[name], self._before[name])})
        self._before = now

    def predict(self, networks: Networks, batch: Batch) -> dict[str, Tensor]:
        return {"scores": networks["discriminator"](batch["inputs"].flatten(1)).squeeze(1)}

    def metrics(self) -> Metric:
        return MeanScore()

    def samples(self, batch: Batch, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"sample_id": batch["sample_id"], "losses": -outputs["scores"]}


class MeanScore(Metric):
    """The mean of the discriminator's scores."""

    def __init__(self) -> None:
        self._scores: list[Tensor] = []

    def update(self, outputs: Any, batch: Any) -> None:
        self._scores.append(outputs["scores"].double())

    def state(self) -> dict[str, Tensor]:
        return {"scores": torch.cat([torch.empty(0, dtype=torch.float64), *self._scores])}

    def compute(self, states: Any) -> dict[str, Any]:
        return {"score": float(torch.cat([s["scores"] for s in states]).sort().values.mean())}


def gan(spec: Any, card: Any, session: Session) -> tuple[nn.Module, Task]:
    torch.manual_seed(spec.seed)
    return ToyGan(normalise=False), GanTask()


def normalised_gan(spec: Any, card: Any, session: Session) -> tuple[nn.Module, Task]:
    torch.manual_seed(spec.seed)
    return ToyGan(normalise=True), GanTask()
