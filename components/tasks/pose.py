"""Pose: where the joints of one person are, in an image or in each frame of a clip."""

from __future__ import annotations

from torch import Tensor, nn

from components.data.card import Card
from components.data.skeleton import JOINTS, TORSO
from components.decoding.heatmap import HeatmapCodec
from components.errors import UserError
from components.metrics.base import Metric
from components.metrics.pose import Pose as PoseMetric
from components.tasks.base import Batch, Networks, StepContext, Task


class Pose(Task):
    """Batches hold `inputs (B, C, H, W)` or `(B, T, C, H, W)` and `keypoints (B, K, 3)` or `(B, T, K, 3)`, see components/data/skeleton.py.

    The model maps inputs to heatmaps `(B, K, H', W')` or `(B, T, K, H', W')`. Joints that are hidden are learned and judged as those that are seen;
    those that are not labelled are neither.

    Args:
        loss: module `(heatmaps (..., K, H', W'), targets) -> (..., K)`.
        card: the data set's card; its keypoints must be those of the skeleton.
        stride: pixels of the image a cell of the model's heatmaps.
        sigma: of the Gaussian that stands for a joint, in cells.

    Raises:
        UserError: the data set has no such keypoints.
    """

    def __init__(self, loss: nn.Module, card: Card, stride: int, sigma: float = 1.0) -> None:
        column = card.columns.get("keypoints")
        if column is None or column.shape[-2:] != (len(JOINTS), 3):
            raise UserError(
                f"data set '{card.name}' holds no poses",
                received="no column 'keypoints'" if column is None else f"keypoints {column.shape}",
                expected=f"keypoints (..., {len(JOINTS)}, 3)",
                mend="choose data=lsp or data=figures",
            )
        self.loss, self.codec = loss, HeatmapCodec(stride, sigma)

    def counts(self, batch: Batch, context: StepContext) -> dict[str, Tensor | float]:
        """One term, `loss`, over the number of labelled joints."""
        return {"loss": _labelled(batch).sum()}

    def losses(self, networks: Networks, batch: Batch, context: StepContext) -> dict[str, Tensor]:
        """Sum of the loss over the labelled joints."""
        return {"loss": self._errors(networks["model"](batch["inputs"]), batch).sum()}

    def _errors(self, heatmaps: Tensor, batch: Batch) -> Tensor:
        """The loss of each joint, zero where it is not labelled, of the keypoints' shape without its last axis."""
        errors: Tensor = self.loss(heatmaps, self.codec.encode(batch["keypoints"], *heatmaps.shape[-2:]))
        return errors * _labelled(batch)

    def predict(self, networks: Networks, batch: Batch) -> dict[str, Tensor]:
        """Return `poses (B, [T,] K, 3)` (x, y in pixels, the heatmap's peak) and `losses (B,)`, the mean over a sample's labelled joints."""
        heatmaps = networks["model"](batch["inputs"]).float()
        counts = _labelled(batch).flatten(1).sum(dim=1).clamp(min=1)
        return {"poses": self.codec.decode(heatmaps), "losses": self._errors(heatmaps, batch).flatten(1).sum(dim=1) / counts}

    def metrics(self) -> Metric:
        """PCK: of all, of occluded and of visible joints, by joint and over thresholds."""
        return PoseMetric(JOINTS, TORSO)

    def samples(self, batch: Batch, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses `(B,)` and poses `(B, [T,] K, 3)`."""
        return {"sample_id": batch["sample_id"], "losses": outputs["losses"], "poses": outputs["poses"]}


def _labelled(batch: Batch) -> Tensor:
    """(B, [T,] K) bool."""
    return batch["keypoints"][..., 2] > 0
