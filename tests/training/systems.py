"""What the tests train, and the functions that worker processes run. Top-level, so that a spawned process finds them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

from components.data.card import load_card
from components.data.sampling import epoch_batches
from components.errors import Interrupted, RunError
from components.layers.dropout import Dropout
from components.metrics.base import Metric
from components.spec.parse import parse_spec
from components.tasks.base import Batch, Networks, Phase, StepContext, Task
from components.tasks.classification import Classification
from components.training import checkpoint, journal, strategy
from components.training.checkpoint import Checkpoints
from components.training.evaluator import evaluate
from components.training.inputs import Inputs
from components.training.loop import Job, Loop
from components.training.notices import Notice
from components.training.plain_state import load_state
from components.training.session import LocalSession, Session
from components.training.system import build_system

Plain = dict[str, Any]
System = Callable[[Any, Any, Session], tuple[nn.Module, Task]]  # (spec, card, session), as jobs.build_system


class Killed(Exception):
    """Stands for a kill: it comes out of the middle of a step."""


def train(
    session: Session, plain: Plain, data: Path, directory: Path, system: System = build_system, stop_at: int | None = None, passes: int = 0
) -> Plain:
    """components.training.jobs.train with a system of the tests' own, killed in the step `stop_at` after so many of its forward passes.

    Returns:
        summary (None when killed), journal (records), weights (of this rank's model), carry, notes (of the task).
    """
    spec = parse_spec(plain)
    training, validation = Inputs(data, "train", spec, session), Inputs(data, "validation", spec, session)
    model, task = system(spec, training.dataset.card, session)
    if stop_at is not None:
        _kill(task, stop_at, passes)
    checkpoints = Checkpoints(directory / "checkpoints", spec.trainer.keep_best, spec.trainer.monitor.mode)
    loop = Loop(session, spec, Job(task, model, training, validation), checkpoints, {"code": "abc"})
    if session.rank == 0:
        journal.rewind(directory / "metrics.jsonl", loop.progress.step)
        loop.journal = journal.Journal(directory / "metrics.jsonl")
    try:
        summary: Plain | None = loop.run()
    except Killed:
        summary = None
    state = strategy.model_state(loop.stepper.model)
    records = journal.read(directory / "metrics.jsonl")
    return {"summary": summary, "journal": records, "weights": state, "carry": loop.stepper.carry, "notes": getattr(task, "notes", {})}


def _kill(task: Task, step: int, passes: int) -> None:
    losses, made = task.losses, 0

    def killing(networks: Networks, batch: Batch, context: StepContext) -> dict[str, Tensor]:
        nonlocal made
        if context.step == step:
            if made == passes:
                raise Killed
            made += 1
        return losses(networks, batch, context)

    task.losses = killing  # type: ignore[method-assign]


def evaluate_checkpoint(
    session: Session, plain: Plain, data: Path, directory: Path, system: System = build_system, file: str = "model.safetensors"
) -> Plain:
    """The scalars of one pass over the validation split with a saved checkpoint's weights."""
    spec, card = parse_spec(plain), load_card(data)
    model, task = system(spec, card, session)
    checkpoint.load_weights(directory, model, file)
    found = evaluate(session, task, task.split(model), Inputs(data, "validation", spec, session), spec.evaluate)
    return {f"validation/{k}": float(v) for k, v in found.items() if isinstance(v, (int, float))}


def weights_of(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file."""
    return load_file(file)


def loop_of(session: Session, plain: Plain, data: Path, directory: Path, system: System) -> Loop:
    """A loop at its beginning, without a journal."""
    spec = parse_spec(plain)
    training, validation = Inputs(data, "train", spec, session), Inputs(data, "validation", spec, session)
    model, task = system(spec, training.dataset.card, session)
    return Loop(session, spec, Job(task, model, training, validation), Checkpoints(directory / "checkpoints"), {})


def optimizer_options(directory: Path) -> dict[str, Any]:
    """The options of the first group of a checkpoint's optimizer."""
    options: dict[str, Any] = load_state(directory)["optimizers"]["main"]["param_groups"][0]
    return options


def numbers_held(session: Session, plain: Plain, data: Path, directory: Path) -> dict[str, int]:
    """How many numbers of the weights and of one of the optimizer's moments this rank holds."""
    stepper = loop_of(session, plain, data, directory, linear).stepper
    held = {"weights": sum(p.to_local().numel() for p in stepper.model.parameters())}  # type: ignore[attr-defined]
    for parameter in stepper.model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    stepper.optimizers["main"].step()
    moments = [s["exp_avg"] for s in stepper.optimizers["main"].state.values()]
    return {**held, "moments": sum(m.to_local().numel() for m in moments)}


def forward_passes(session: Session, plain: Plain, data: Path, directory: Path) -> int:
    """How often a step calls the first linear layer's function."""
    loop, calls = loop_of(session, plain, data, directory, linear), 0
    real = nn.functional.linear

    def counting(*arguments: Any) -> Tensor:
        nonlocal calls
        calls += arguments[1].shape == (16, 64)
        return real(*arguments)

    with mock.patch.object(nn.functional, "linear", counting):
        loop.stepper.step(next(loop.training.training(epoch=0)), step=0, epoch=0)
    return calls


def layout_of_weights_and_inputs(session: Session, plain: Plain, data: Path, directory: Path) -> list[bool]:
    """Whether the second convolution's weights and its inputs lie in memory with the channels last (of one channel, it could not be told)."""
    loop, seen = loop_of(session, plain, data, directory, convolutional), []
    convolution = loop.stepper.model[2]  # type: ignore[index]
    convolution.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    loop.stepper.step(next(loop.training.training(epoch=0)), step=0, epoch=0)
    return [t.is_contiguous(memory_format=torch.channels_last) for t in (convolution.weight, seen[0])]


def stopped_by_one_rank(session: Session, plain: Plain, data: Path, directory: Path) -> str:
    """What the run says when rank 1 alone is asked to leave, in its fifth step."""
    assert isinstance(session, LocalSession)
    loop = loop_of(session, plain, data, directory, linear)
    _tell_at(loop, 4, Notice.STOP if session.rank == 1 else Notice.NONE)
    try:
        loop.run()
    except Interrupted as error:
        return str(error)
    return "it went on"


def saved_steps(session: Session, plain: Plain, data: Path, directory: Path) -> list[int]:
    """The steps at which a run saves that is asked to, once, in its fifth step."""
    loop, saved = loop_of(session, plain, data, directory, linear), []
    _tell_at(loop, 4, Notice.SAVE)
    real = loop.saver.checkpoints.save

    def saving(step: int, *arguments: Any, **options: Any) -> Any:
        saved.append(step)
        return real(step, *arguments, **options)

    with mock.patch.object(loop.saver.checkpoints, "save", saving):
        loop.run()
    return saved


def _tell_at(loop: Loop, step: int, notice: Notice) -> None:
    """Let the session hear of something in one step, as a signal would."""
    session = loop.session
    assert isinstance(session, LocalSession)
    real = loop.stepper.step

    def telling(parts: Any, at: int, *arguments: Any) -> Any:
        session.told.notice = notice if at == step else Notice.NONE
        return real(parts, at, *arguments)

    loop.stepper.step = telling  # type: ignore[method-assign]


def count_exchanges(session: Session, plain: Plain, data: Path, directory: Path) -> int:
    """How often DDP exchanged a bucket of gradients."""
    loop, calls = loop_of(session, plain, data, directory, linear), 0

    def counting(state, bucket):  # type: ignore[no-untyped-def]  # DDP looks at annotations, and knows no postponed ones
        nonlocal calls
        calls += 1
        return allreduce_hook(state, bucket)

    loop.stepper.wrapped["main"]["model"].register_comm_hook(None, counting)  # type: ignore[operator]
    loop.run()
    return calls


def weights_at_a_bad_step(session: Session, plain: Plain, data: Path, directory: Path) -> dict[str, Tensor]:
    """The weights when the run has ended because a gradient was no number."""
    loop = loop_of(session, plain, data, directory, poisoned)
    try:
        loop.run()
    except RunError:
        return strategy.model_state(loop.stepper.model)
    raise AssertionError("it did not end")


def order_of_calls(session: Session, plain: Plain, data: Path, directory: Path) -> list[str]:
    """What a step calls, in order, as spies on the real things heard it."""
    loop, heard = loop_of(session, plain, data, directory, linear), []

    def spy(owner: Any, name: str, told: str) -> Any:
        real = getattr(owner, name)

        def heard_and_done(*arguments: Any, **options: Any) -> Any:
            heard.append(told)
            return real(*arguments, **options)

        return mock.patch.object(owner, name, heard_and_done)

    stepper, optimizer, ema = loop.stepper, loop.stepper.optimizers["main"], loop.stepper.ema
    spied = [
        (loop.task, "counts", "counts"),
        (loop.task, "losses", "losses"),
        (Tensor, "backward", "backward"),
        (stepper.scaler, "unscale_", "unscale"),
        (nn.utils, "get_total_norm", "norm"),
        (nn.utils, "clip_grads_with_norm_", "clip norm"),
        (nn.utils, "clip_grad_value_", "clip value"),
        (math, "isfinite", "finite"),
        (stepper.scaler, "step", "step"),
        (stepper.scaler, "update", "scaler"),
        (ema, "update", "average"),
        (optimizer, "zero_grad", "zero"),
    ]
    with ExitStack() as stack:
        for owner, name, told in spied:
            stack.enter_context(spy(owner, name, told))
        for parts in itertools.islice(loop.training.training(epoch=0), 2):
            stepper.step(parts, step=0, epoch=0)
    return heard


def classifier(model: nn.Module, spec: Any, card: Any, session: Session) -> tuple[nn.Module, Task]:
    """A model of the tests beside the configured loss and task."""
    return model, build_system(spec, card, session)[1]


def linear(spec: Any, card: Any, session: Session) -> tuple[nn.Module, Task]:
    torch.manual_seed(spec.seed)
    return classifier(nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 3)), spec, card, session)


def linear_start() -> nn.Sequential:
    """`linear` as it is before the first step."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 3))


def sampled_dropout(spec: Any, card: Any, session: Session) -> tuple[nn.Module, Task]:
    torch.manual_seed(spec.seed)
    return classifier(nn.Sequential(nn.Flatten(), nn.Linear(64, 16), Dropout(0.5), nn.Linear(16, 3)), spec, card, session)


def dropout(spec: Any, card: Any, session: Session) -> tuple[nn.Module, Task]:
    torch.manual_seed(spec.seed)
    return classifier(nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Dropout(0.5), nn.Linear(16, 3)), spec, card, session)


def normalised(spec: Any, card: Any, session: Session) -> tuple[nn.Module, Task]:
    """With batch normalisation: its running means differ from rank to rank."""
    torch.manual_seed(spec.seed)
    return classifier(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64, momentum=0.5), nn.Linear(64, 3)), spec, card, session)


def convolutional(spec: Any, card: Any, session: Session) -> tuple[nn.Module, Task]:
    torch.manual_seed(spec.seed)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16, 3))
    return classifier(model, spec, card, session)


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


BAD_ROW = 17  # of the training split


class Poison(nn.Module):
    """Divides zero by zero for the rows whose first feature is marked."""

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, 65) -> (B, 64)."""
        marked = inputs[:, -1:]
        return inputs[:, :-1] * ((1.0 - marked) / (1.0 - marked))


class Mark(nn.Module):
    """Adds a feature that is 1 for images marked in their first pixel, and 0 otherwise."""

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, 64) -> (B, 65)."""
        return torch.cat([inputs, (inputs[:, :1] > 1e3).to(inputs.dtype)], dim=1)


def bad_model() -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), Mark(), Poison(), nn.Linear(64, 3))


class Marking(Classification):
    """Marks the first pixel of one training row."""

    def losses(self, networks: Networks, batch: Batch, context: StepContext) -> dict[str, Tensor]:
        batch["inputs"][batch["sample_id"] == BAD_ROW, 0, 0, 0] = 1e6
        return super().losses(networks, batch, context)


def bad_sample(spec: Any, card: Any, session: Session) -> tuple[nn.Module, Task]:
    torch.manual_seed(spec.seed)
    model, task = classifier(bad_model(), spec, card, session)
    assert isinstance(task, Classification)
    return model, Marking(task.loss, card)


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
    """Each place in the batch carries the sum of the sample ids that it has seen in the epoch."""

    def losses(self, networks: Networks, batch: Batch, context: StepContext) -> dict[str, Tensor]:
        ids = batch["sample_id"]
        context.carry["seen"] = context.carry.get("seen", torch.zeros(len(ids), dtype=torch.int64))[: len(ids)] + ids
        return super().losses(networks, batch, context)


def order_of(data: Path, plain: Plain, epoch: int) -> list[int]:
    """The rows of an epoch in the order in which one worker takes them."""
    rows, trainer = load_card(data).splits["train"].rows, plain["trainer"]
    parts = epoch_batches(rows, trainer["batch_size"], plain["seed"], epoch, rank=0, world=1)
    return [int(row) for part in parts for row in part.indices]


def carrying(spec: Any, card: Any, session: Session) -> tuple[nn.Module, Task]:
    model, task = linear(spec, card, session)
    return model, Carrying(task.loss, card)


class Recurrent(nn.Module):
    """Reads an image as eight rows, one after the other, and goes on where the image before it in its stream ended."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 12, batch_first=True)
        self.head = nn.Linear(12, 3)

    def forward(self, inputs: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """(B, 1, 8, 8), `(B, 12)` each -> (B, 3), `(B, 12)` each."""
        before = tuple(state[k][None] for k in ("hidden", "cell")) if state else None
        outputs, (hidden, cell) = self.lstm(inputs.squeeze(1), before)
        return self.head(outputs[:, -1]), {"hidden": hidden[0], "cell": cell[0]}


class Truncated(Classification):
    """Truncated backpropagation through time: the state goes from step to step, its graph does not."""

    def losses(self, networks: Networks, batch: Batch, context: StepContext) -> dict[str, Tensor]:
        rows = len(batch["targets"])
        logits, state = networks["model"](batch["inputs"], {k: v[:rows] for k, v in context.carry.items()})
        context.carry.update({k: v.detach() for k, v in state.items()})
        return {"loss": self.loss(logits, batch["targets"]).sum()}

    def predict(self, networks: Networks, batch: Batch) -> dict[str, Tensor]:
        logits, _ = networks["model"](batch["inputs"], {})
        return {"logits": logits, "losses": self.loss(logits, batch["targets"])}


def recurrent(spec: Any, card: Any, session: Session) -> tuple[nn.Module, Task]:
    torch.manual_seed(spec.seed)
    model, task = classifier(Recurrent(), spec, card, session)
    assert isinstance(task, Classification)
    return model, Truncated(task.loss, card)


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
