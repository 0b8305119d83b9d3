"""What a run says, and leaves behind, when a gradient or a loss is no number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from components.errors import RunError
from components.layers.dropout import hand_draws, stochastic_layers
from components.spec.schema import Spec
from components.tasks.base import MicroBatch, Phase, StepContext
from components.training import strategy
from components.training.nonfinite import explain, first_bad_layer, write_replay
from components.training.progress import Progress
from components.training.session import Session, gather
from components.training.step import NonFinite, Stepper


def accuse(
    session: Session, spec: Spec, stepper: Stepper, progress: Progress, error: NonFinite, parts: Sequence[MicroBatch], folder: Path
) -> RunError:
    """Return the error that ends the run, the same on every rank: told by the first rank whose own loss is no number, else by rank 0.

    The step is written to `folder` as a replay by the rank that tells. The phase's weights are as they were before it.
    """
    states = {"model": strategy.model_state(stepper.model), **{f"optimizer/{k}": v for k, v in stepper.state()["optimizers"].items()}}
    suspects = gather(session, [not all(map(math.isfinite, error.parts.values()))])
    teller = next((rank for rank, (bad,) in enumerate(suspects) if bad), 0)
    message = ""
    if session.rank == teller:
        phase = next(p for p in stepper.task.phases if p.name == error.phase)
        part, layer = _first_bad(stepper, phase, progress, parts)
        path = folder / f"step_{progress.step:08d}.rank_{session.rank}.pt"
        folder.mkdir(parents=True, exist_ok=True)
        where = {"seed": spec.seed, "step": progress.step, "epoch": progress.epoch, "phase": error.phase, "precision": spec.trainer.precision}
        write_replay(path, part.batch, where, states)
        message = explain(
            error.parts,
            [(name, p.grad) for name, p in stepper.model.named_parameters()],
            step=progress.step,
            rank=session.rank,
            sample_ids=part.batch["sample_id"].tolist(),
            learning_rates=stepper.rates(),
            gradient_norm=error.gradient_norm,
            first_bad=layer,
            replay=path,
        )
    return RunError(gather(session, message)[teller])


def _first_bad(stepper: Stepper, phase: Phase, progress: Progress, parts: Sequence[MicroBatch]) -> tuple[MicroBatch, str]:
    """The micro-batch in which a number is first no number, and the layer; the first one where none shows it again."""
    found = ""
    for part, carry in zip(parts, stepper.carry, strict=True):
        hand_draws(stochastic_layers(stepper.model), part.draws)
        context = StepContext(phase, part.draws, progress.step, progress.epoch, dict(carry))
        found = first_bad_layer(stepper.model, partial(stepper.task.losses, stepper.networks, part.batch, context))
        if not found.startswith("none"):
            return part, found
    return parts[0], found
