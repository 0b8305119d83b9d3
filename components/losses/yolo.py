"""The loss of YOLOv2. The notes give none (003 D8, 004 M42 "formula missing").

Legend: B images, N places of the grid, K classes, V objects of the batch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.decoding.boxes import overlap
from components.decoding.yolo import GridTargets


class YoloLoss(nn.Module):
    """Three terms, each a sum for each image (Redmon and Farhadi 2017, YOLO9000, section 2, and the authors' region layer).

    `box`: `(2 - a) |(sigmoid(t_xy), t_wh) - target|^2` over the objects, a the object's share of the image, so that small ones count as much.
    `objectness`: binary cross entropy of `sigmoid(t_o)`. At an object's place the target is the overlap that its predicted box has reached,
    without gradient, so that the score learns to rank boxes by how well they sit; elsewhere 0, but for places whose predicted box overlaps some
    object by more than `ignored_overlap`: these are neither. The authors' squared error moves the weights little where a sigmoid is far off.
    `class`: cross entropy of the softmax over the objects.

    Args:
        box_weight, background_weight, class_weight: of the terms; of the places without an object, against those with one.
        ignored_overlap: of a place without an object.
    """

    def __init__(self, box_weight: float = 5.0, background_weight: float = 0.5, class_weight: float = 1.0, ignored_overlap: float = 0.6) -> None:
        super().__init__()
        self.box_weight, self.background_weight, self.class_weight = box_weight, background_weight, class_weight
        self.ignored_overlap = ignored_overlap

    def forward(self, places: Tensor, boxes: Tensor, targets: GridTargets, size: tuple[int, int]) -> dict[str, Tensor]:
        """Return `box`, `objectness` and `class`, sums for each image: `(B, N, 5 + K) -> (B,)` each.

        Args:
            places: raw outputs `(B, N, 5 + K)`, float32 or float64.
            boxes: what they stand for, `(B, N, 4)` pixels.
            targets: of the batch.
            size: height and width of the images, pixels.
        """
        own = places[targets.image, targets.place]  # (V, 5 + K)
        sides = targets.boxes[:, 2:] - targets.boxes[:, :2]
        scale = 2 - sides.prod(dim=1) / (size[0] * size[1])
        errors = torch.cat([own[:, :2].sigmoid() - targets.offsets, own[:, 2:4] - targets.logs], dim=1)
        classes = F.cross_entropy(own[:, 5:], targets.labels, reduction="none")
        return {
            "box": self.box_weight * _by_image(scale * errors.square().sum(dim=1), targets, len(places)),
            "objectness": self._objectness(places[..., 4], boxes.detach(), targets),
            "class": self.class_weight * _by_image(classes, targets, len(places)),
        }

    def _objectness(self, logits: Tensor, boxes: Tensor, targets: GridTargets) -> Tensor:
        """(B, N) logits -> (B,)."""
        reached = overlap(boxes[targets.image], targets.boxes[:, None])  # (V, N)
        best = torch.zeros_like(logits).scatter_reduce(0, targets.image[:, None].expand_as(reached), reached.to(logits.dtype), "amax")
        place = targets.image * logits.shape[1] + targets.place
        # An object that is left out adds nothing: its place, if taken, is another object's.
        taken = torch.zeros_like(logits).flatten().scatter_reduce(0, place, targets.kept.to(logits.dtype), "amax").reshape(logits.shape)
        own = reached.gather(1, targets.place[:, None]).squeeze(1) * targets.kept
        wanted = torch.zeros_like(logits).flatten().scatter_reduce(0, place, own.to(logits.dtype), "amax").reshape(logits.shape)
        background = self.background_weight * (best <= self.ignored_overlap)
        weights = torch.where(taken > 0, 1.0, background)
        entropies = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        return (weights * entropies).sum(dim=1)


def _by_image(values: Tensor, targets: GridTargets, count: int) -> Tensor:
    """Add up the values `(V,)` of the objects that are kept, image by image: `(B,)`."""
    return values.new_zeros(count).index_add(0, targets.image, values * targets.kept)
