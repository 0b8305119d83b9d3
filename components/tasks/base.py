"""The face that every gradient-trained task shows to the loop (docs/architecture.md, section 3)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from components.data.draws import Draws
from components.metrics.base import Metric

Batch = dict[str, Tensor]
Networks = Mapping[str, nn.Module]


@dataclass(frozen=True)
class Phase:
    """A part of a training step with an optimizer of its own: a classifier has one, a GAN two."""

    name: str
    network: str  # which of `Task.split`'s networks the optimizer updates


@dataclass(frozen=True)
class MicroBatch:
    """What a worker takes through the model at once: a part of a step's batch."""

    batch: Batch
    draws: Draws
    weight: float = 1.0  # 0: a stand-in row, so that every rank makes every step; it must not count


def no_scores(network: str, real: Tensor, fake: Tensor) -> None:
    """Nobody is watching this step."""


@dataclass
class StepContext:
    """What a task may know about the step beside its batch."""

    phase: Phase
    draws: Draws  # random numbers that belong to samples
    step: int  # optimizer steps made before this one
    epoch: int
    carry: dict[str, Tensor] = field(default_factory=dict)  # (b, ...) each, lives from step to step of an epoch (truncated BPTT)
    scores: Callable[[str, Tensor, Tensor], None] = no_scores  # a GAN tells its discriminator's name and logits of real and generated samples


class Task(ABC):
    """What a step, a prediction and an evaluation mean. Stateless but for its configuration."""

    phases: tuple[Phase, ...] = (Phase("main", "model"),)

    def split(self, model: nn.Module) -> dict[str, nn.Module]:
        """Name the networks inside a model. Every parameter belongs to the network of exactly one phase."""
        return {"model": model}

    @abstractmethod
    def counts(self, batch: Batch, context: StepContext) -> dict[str, Tensor | float]:
        """Return the denominator of each loss term from the batch alone (no forward pass): a number, or a scalar tensor where a number
        would have to be fetched from the device."""

    @abstractmethod
    def losses(self, networks: Networks, batch: Batch, context: StepContext) -> dict[str, Tensor]:
        """Return the SUM of each loss term over the batch, a scalar tensor with its graph. Keys as in `counts`."""

    @abstractmethod
    def predict(self, networks: Networks, batch: Batch) -> dict[str, Tensor]:
        """Return outputs of each sample, first axis B, decoded. Called in evaluation mode without gradients."""

    @abstractmethod
    def metrics(self) -> Metric:
        """Return a fresh accumulator for one pass over one split."""

    def gallery(self, networks: Networks, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """Return what the report shows beside single samples: generated images, sampled text. In evaluation mode, without gradients.

        Args:
            networks: unwrapped.
            batch: the first evaluation batch, transformed.
            draws: of that batch's samples.
        """
        return {}

    @abstractmethod
    def samples(self, batch: Batch, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return what the report shows of each sample; must hold `sample_id` and `losses`, `(B,)` each."""
