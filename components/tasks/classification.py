"""Classification: one label a sample."""

from __future__ import annotations

from torch import Tensor, nn

from components.data.card import Card
from components.metrics.base import Metric
from components.metrics.classification import Classification as ClassificationMetric
from components.tasks.base import Batch, Networks, StepContext, Task


class Classification(Task):
    """Batches hold `inputs (B, ...)` and `targets (B,)` int64; the model maps inputs to logits `(B, K)`.

    Args:
        loss: module `(logits (B, K), targets (B,)) -> (B,)`.
        card: the data set's card; its `targets` column names the classes.
    """

    def __init__(self, loss: nn.Module, card: Card) -> None:
        self.loss = loss
        self.class_names = card.classes("targets")

    def counts(self, batch: Batch, context: StepContext) -> dict[str, Tensor | float]:
        """One term, `loss`, over the number of samples."""
        return {"loss": float(len(batch["targets"]))}

    def losses(self, networks: Networks, batch: Batch, context: StepContext) -> dict[str, Tensor]:
        """Sum of the loss over the batch."""
        return {"loss": self.loss(networks["model"](batch["inputs"]), batch["targets"]).sum()}

    def predict(self, networks: Networks, batch: Batch) -> dict[str, Tensor]:
        """Return `logits (B, K)` float32 and `losses (B,)`."""
        logits = networks["model"](batch["inputs"]).float()
        return {"logits": logits, "losses": self.loss(logits, batch["targets"])}

    def metrics(self) -> Metric:
        """Accuracy, per-class figures, confusion and calibration."""
        return ClassificationMetric(num_classes=len(self.class_names), class_names=self.class_names)

    def samples(self, batch: Batch, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Targets, predictions, probabilities `(B, K)` and losses."""
        probabilities = outputs["logits"].softmax(dim=1)
        return {
            "sample_id": batch["sample_id"],
            "targets": batch["targets"],
            "predictions": probabilities.argmax(dim=1),
            "probabilities": probabilities,
            "losses": outputs["losses"],
        }
