"""From the lengths that somebody configured to numbers of steps. Imports nothing heavy: `modelyard plan` uses it too."""

from __future__ import annotations

from dataclasses import dataclass

from components.spec.duration import parse_duration
from components.spec.schema import TrainerSpec


@dataclass(frozen=True)
class Lengths:
    """All in optimizer steps."""

    epoch: int
    total: int
    validate_every: int
    checkpoint_every: int
    patience: int | None


def lengths(trainer: TrainerSpec, rows: int) -> Lengths:
    """Return how many steps each configured length is, at least one.

    Args:
        trainer: durations and batch size.
        rows: of the training data.
    """
    epoch = 1 if trainer.overfit_one_batch else -(-rows // trainer.batch_size)
    total = max(1, parse_duration(trainer.duration, "trainer.duration").steps(epoch, 0))

    def steps(name: str) -> int:
        return max(1, parse_duration(getattr(trainer, name), f"trainer.{name}").steps(epoch, total))

    return Lengths(epoch, total, steps("validate_every"), steps("checkpoint_every"), None if trainer.patience is None else steps("patience"))


def steps_left(trainer: TrainerSpec, rows: int, epoch: int, samples: int) -> int:
    """Return the steps that a run of so many epochs has left after `epoch` whole ones and `samples` of the next, with this batch size.

    Raises:
        AssertionError: the run's length is not given in epochs.
    """
    duration = parse_duration(trainer.duration, "trainer.duration")
    assert duration.unit == "ep"
    whole = duration.steps(-(-rows // trainer.batch_size), 0) - epoch * -(-rows // trainer.batch_size)
    return max(0, whole - -(-rows // trainer.batch_size) + -(-(rows - samples) // trainer.batch_size))
