"""Semantic segmentation: one label a pixel."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from components.data.card import Card
from components.errors import UserError
from components.losses.segmentation import SegmentationLoss
from components.metrics.base import Metric
from components.metrics.segmentation import Segmentation as SegmentationMetric
from components.tasks.base import Batch, Networks, StepContext, Task


class Segmentation(Task):
    """Batches hold `inputs (B, C, H, W)` and `masks (B, H, W)` of any integer type; the model maps inputs to logits `(B, K, H, W)`.

    Args:
        loss: a `SegmentationLoss`.
        card: the data set's card; its `masks` column names the classes.
        void: the class that nobody has to find, the last one: its pixels enter no loss and no score, and K leaves it out. None: every
            class counts.

    Raises:
        UserError: the loss is of another kind, or the void class is not the last one.
    """

    def __init__(self, loss: nn.Module, card: Card, void: str | None = None) -> None:
        if not isinstance(loss, SegmentationLoss):
            raise UserError("segmentation needs a loss of its own", received=type(loss).__name__, expected="one of components.losses.segmentation")
        names = list(card.classes("masks"))
        if void is not None and (void not in names or names.index(void) != len(names) - 1):
            raise UserError("task.void is not the last class of the masks", received=void, expected=names[-1])
        self.loss = loss
        self.class_names = names if void is None else names[:-1]

    def counts(self, batch: Batch, context: StepContext) -> dict[str, Tensor | float]:
        """One term, `loss`, over what the loss divides by: valid pixels, or their weights, or samples."""
        targets, valid = self._targets(batch)
        return {"loss": self.loss.counts(targets, valid).sum()}

    def losses(self, networks: Networks, batch: Batch, context: StepContext) -> dict[str, Tensor]:
        """Sum of the loss over the batch."""
        return {"loss": cast(Tensor, self.loss(self._logits(networks, batch), *self._targets(batch))).sum()}

    def predict(self, networks: Networks, batch: Batch) -> dict[str, Tensor]:
        """Return `predictions (B, H, W)` int64, and `losses (B,)`, the mean of each sample over its `counts (B,)`."""
        logits = self._logits(networks, batch)
        targets, valid = self._targets(batch)
        counts = self.loss.counts(targets, valid)
        return {"predictions": logits.argmax(1), "losses": self.loss(logits, targets, valid) / counts.clamp(min=1e-6), "counts": counts}

    def metrics(self) -> Metric:
        """Mean IoU, Dice, pixel and mean accuracy, and a table of the classes."""
        return SegmentationMetric(self.class_names)

    def samples(self, batch: Batch, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses `(B,)`, and as bytes or of the masks' own type, masks and predictions `(B, H, W)`."""
        masks = batch["masks"]
        predictions = outputs["predictions"].to(masks.dtype)
        return {"sample_id": batch["sample_id"], "losses": outputs["losses"], "masks": masks, "predictions": predictions}

    def _targets(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return labels (B, H, W) int64 and which of them count, bool."""
        targets = batch["masks"].long()
        return targets, targets < len(self.class_names)

    def _logits(self, networks: Networks, batch: Batch) -> Tensor:
        logits = cast(Tensor, networks["model"](batch["inputs"]))
        expected = (len(batch["masks"]), len(self.class_names), *batch["masks"].shape[1:])
        if tuple(logits.shape) != expected:
            raise UserError(
                "the model's logits do not lie on the masks",
                received=f"logits {tuple(logits.shape)}",
                expected=f"{expected}: {len(self.class_names)} classes, the masks' height and width",
                mend="look at model.num_classes; a U-Net with valid convolutions needs masks that are cut to its output",
            )
        return logits
