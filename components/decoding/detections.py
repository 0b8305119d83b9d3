"""From scored boxes to detections, the same for every detector.

Legend: B images, N candidates, D detections.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from components.decoding.boxes import areas, suppress


@dataclass(frozen=True)
class Detections:
    """Best first; where an image has fewer than D, boxes and scores are 0 and labels -1."""

    boxes: Tensor  # (B, D, 4) pixels
    scores: Tensor  # (B, D)
    labels: Tensor  # (B, D) int64


@dataclass(frozen=True)
class Selection:
    """Which candidates are detections (notes 003 lines 1464-1510).

    The notes drop what scores 0.6 or less: right for showing. Average precision wants the whole ranking, so the default is near 0.
    """

    least_score: float = 0.01
    most_overlap: float = 0.5  # of two detections of a class in one image
    most_detections: int = 100  # D, COCO's


def detect(boxes: Tensor, scores: Tensor, labels: Tensor, selection: Selection) -> Detections:
    """Drop what scores low or has no area, then doubles class by class, and keep the best D; ties go to the first.

    Args:
        boxes: `(B, N, 4)` pixels.
        scores: `(B, N)`.
        labels: int64 `(B, N)`.
        selection: the limits.
    """
    scores = scores * ((scores >= selection.least_score) & (areas(boxes) > 0))
    # Suppression is quadratic. Doubles rarely outnumber what is shown, so only a few times D candidates enter it.
    boxes, scores, labels = _best(boxes, scores, labels, 4 * selection.most_detections)
    boxes, scores, labels = _best(boxes, scores * suppress(boxes, labels, selection.most_overlap), labels, selection.most_detections)
    lacking, found = selection.most_detections - scores.shape[1], scores > 0
    return Detections(
        boxes=pad(boxes * found[..., None], (0, 0, 0, lacking)),
        scores=pad(scores, (0, lacking)),
        labels=pad(labels.masked_fill(~found, -1), (0, lacking), value=-1),
    )


def _best(boxes: Tensor, scores: Tensor, labels: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Order by falling score and cut to `count`."""
    order = torch.argsort(scores, dim=1, descending=True, stable=True)[:, :count]
    return boxes.gather(1, order[..., None].expand(-1, -1, 4)), scores.gather(1, order), labels.gather(1, order)
