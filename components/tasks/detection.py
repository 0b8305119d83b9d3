"""Detection: boxes with labels, any number an image."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from components.data.card import Card
from components.decoding.detections import Selection
from components.decoding.yolo import GridTargets, YoloCodec
from components.losses.yolo import YoloLoss
from components.metrics.base import Metric
from components.metrics.detection import Detection as DetectionMetric
from components.tasks.base import Batch, Networks, StepContext, Task


class Detection(Task):
    """Batches hold `inputs (B, C, H, W)`, ragged `boxes` (x1, y1, x2, y2, pixels of the inputs) and ragged `labels`.

    The model maps inputs to a grid `(B, A (5 + K), ceil(H / s), ceil(W / s))`; see components/decoding/yolo.py.

    Args:
        loss: of the grid.
        card: the data set's card; its `labels` column names the K classes.
        anchors: A widths and heights, pixels of the inputs.
        stride: s, pixels.
        least_score, most_overlap, most_detections: what is a detection; see Selection.
    """

    def __init__(
        self,
        loss: YoloLoss,
        card: Card,
        anchors: Sequence[Sequence[float]],
        stride: int,
        least_score: float = 0.01,
        most_overlap: float = 0.5,
        most_detections: int = 100,
    ) -> None:
        self.loss, self.class_names = loss, card.classes("labels")
        self.codec = YoloCodec(anchors, stride, Selection(least_score, most_overlap, most_detections))

    def counts(self, batch: Batch, context: StepContext) -> dict[str, Tensor | float]:
        """Every term over the number of objects that have a place in the grid: the background's weight is then against one object."""
        objects = self._encode(batch).kept.sum()
        return dict.fromkeys(("box", "objectness", "class"), objects)

    def losses(self, networks: Networks, batch: Batch, context: StepContext) -> dict[str, Tensor]:
        """Sums over the batch of `box`, `objectness` and `class`."""
        return {name: value.sum() for name, value in self._terms(networks["model"](batch["inputs"]), batch).items()}

    def predict(self, networks: Networks, batch: Batch) -> dict[str, Tensor]:
        """Return `boxes (B, D, 4)`, `scores (B, D)`, `labels (B, D)` with -1 for none, and `losses (B,)`, of each image over its objects."""
        outputs, targets = networks["model"](batch["inputs"]), self._encode(batch)
        found = self.codec.decode(outputs, _size(batch))
        total = sum(self._terms(outputs, batch).values(), start=outputs.new_zeros(()))
        objects = total.new_zeros(len(total)).index_add(0, targets.image, targets.kept.to(total.dtype))
        return {"boxes": found.boxes, "scores": found.scores, "labels": found.labels, "losses": total / objects.clamp(min=1)}

    def metrics(self) -> Metric:
        """Average precision of each class, its means and curves."""
        return DetectionMetric(self.class_names, self.codec.selection.most_detections)

    def samples(self, batch: Batch, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses `(B,)` and what was found: `found_boxes (B, D, 4)`, `found_scores (B, D)`, `found_labels (B, D)`."""
        found = {f"found_{name}": outputs[name] for name in ("boxes", "scores", "labels")}
        return {"sample_id": batch["sample_id"], "losses": outputs["losses"], **found}

    def _encode(self, batch: Batch) -> GridTargets:
        return self.codec.encode(batch["boxes"], batch["boxes.offsets"], batch["labels"], _size(batch))

    def _terms(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        places = self.codec.places(outputs, _size(batch))
        terms: dict[str, Tensor] = self.loss(places, self.codec.boxes(places, _size(batch)), self._encode(batch), _size(batch))
        return terms


def _size(batch: Batch) -> tuple[int, int]:
    """Height and width of the inputs, pixels."""
    return int(batch["inputs"].shape[-2]), int(batch["inputs"].shape[-1])
