"""Density regression: a distribution of one number a sample. Dimensions: B batch, M components, G points of a grid, Q quantile levels."""

from __future__ import annotations

import torch
from torch import Tensor

from components.data.card import Card
from components.data.draws import Draws
from components.losses.density import DensityHead
from components.metrics.base import Metric
from components.metrics.density import TRUTH
from components.metrics.density import Density as DensityMetric
from components.tasks.base import Batch, Networks, StepContext, Task

FAN_LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
_GRID = 121


class Density(Task):
    """Batches hold `inputs (B, D)` and `targets (B,)`; the model maps inputs to the numbers that the loss reads a distribution from.

    Args:
        loss: the head.
        card: the data set's card; generated data tell the truth of their noise in columns of their own.
    """

    def __init__(self, loss: DensityHead, card: Card) -> None:
        self.loss = loss
        self.truth_known = card.columns.keys() >= set(TRUTH)

    def counts(self, batch: Batch, context: StepContext) -> dict[str, Tensor | float]:
        """One term, `loss`, over the number of samples."""
        return {"loss": float(len(batch["targets"]))}

    def losses(self, networks: Networks, batch: Batch, context: StepContext) -> dict[str, Tensor]:
        """Sum of the negative log likelihood over the batch."""
        return {"loss": self.loss(networks["model"](batch["inputs"]), batch["targets"]).sum()}

    def predict(self, networks: Networks, batch: Batch) -> dict[str, Tensor]:
        """Return of each sample `losses` (nats), `means`, `deviations` and `levels` (P(y <= target)) of the predicted density, `(B,)` each."""
        mixture = self.loss.mixture(networks["model"](batch["inputs"]))
        targets = batch["targets"].to(mixture.locations.dtype)
        levels = mixture.cdf(targets[:, None]).squeeze(1)
        return {"losses": mixture.nll(targets), "means": mixture.mean(), "deviations": mixture.deviation(), "levels": levels}

    def metrics(self) -> Metric:
        """Likelihood, calibration, and the distance from the truth where it is known."""
        return DensityMetric(self.truth_known)

    def samples(self, batch: Batch, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Targets, losses, means, deviations and levels, `(B,)` each."""
        return {"sample_id": batch["sample_id"], "targets": batch["targets"], **outputs}

    def gallery(self, networks: Networks, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """What the fan chart draws, where there is one input.

        `fan_x (G,)`, `fan_levels (Q,)`, `fan_quantiles (Q, G)`, `fan_locations (M, G)`, `fan_weights (M, G)`, and the data `fan_inputs`,
        `fan_targets` `(B,)`.
        """
        inputs = batch["inputs"]
        if inputs.shape[1:] != (1,):
            return {}
        x = torch.linspace(float(inputs.min()), float(inputs.max()), _GRID, device=inputs.device, dtype=torch.float32)
        mixture = self.loss.mixture(networks["model"](x[:, None]))
        levels = torch.tensor(FAN_LEVELS, device=inputs.device)
        return {
            "fan_x": x,
            "fan_levels": levels,
            "fan_quantiles": mixture.quantiles(levels).T,
            "fan_locations": mixture.locations.T,
            "fan_weights": mixture.log_weights.exp().T,
            "fan_inputs": inputs.squeeze(1),
            "fan_targets": batch["targets"],
        }
