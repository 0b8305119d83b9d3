"""Classification by several networks: the mean of their probabilities decides (notes 002 M70, 004 M48)."""

from __future__ import annotations

import math

from torch import Tensor

from components.data.draws import Draws
from components.metrics.base import Metric
from components.metrics.ensemble import Ensemble as EnsembleMetric
from components.tasks.base import Batch, Networks, StepContext
from components.tasks.classification import Classification


class Ensemble(Classification):
    """Batches as in `Classification`; the model is a components.models.ensemble.Ensemble: E members, K classes."""

    def losses(self, networks: Networks, batch: Batch, context: StepContext) -> dict[str, Tensor]:
        """Sum over the batch of the members' mean loss: no member's gradient depends on another."""
        scores = networks["model"](batch["inputs"])
        members = [self.loss(own, batch["targets"]).sum() for own in scores.unbind(1)]
        return {"loss": sum(members[1:], start=members[0]) / len(members)}

    def predict(self, networks: Networks, batch: Batch) -> dict[str, Tensor]:
        """Return `logits (B, K)`, the logarithms of the mean probabilities; `losses (B,)` of these; `member_probabilities (B, E, K)`."""
        scores = networks["model"](batch["inputs"])
        logits = scores.logsumexp(dim=1) - math.log(scores.shape[1])
        return {"logits": logits, "losses": self.loss(logits, batch["targets"]), "member_probabilities": scores.exp()}

    def metrics(self) -> Metric:
        """A classifier's figures, and what the members gain by answering together."""
        return EnsembleMetric(super().metrics())

    def samples(self, batch: Batch, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """As a classifier's, and `member_predictions (B, E)`."""
        return {**super().samples(batch, outputs), "member_predictions": outputs["member_probabilities"].argmax(dim=2)}

    def gallery(self, networks: Networks, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """`missed_rows (E,)`: the part of the training rows that each member never saw."""
        return {"missed_rows": networks["model"].get_buffer("missed")}
