"""Boxes: areas, overlaps and the suppression of doubles.

A box is `(x1, y1, x2, y2)` in pixels, edges: an image spans [0, W] x [0, H]. A box without area stands for no box.

Legend: B images, N and M boxes.
"""

from __future__ import annotations

import torch
from torch import Tensor


def areas(boxes: Tensor) -> Tensor:
    """Return width x height, 0 where a side is not positive: `(..., 4) -> (...)`."""
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(dim=-1)


def overlap(first: Tensor, second: Tensor) -> Tensor:
    """Return the intersection over the union of boxes pair by pair (notes 003 line 1514, 004 T35); 0 where both have no area.

    `(..., 4), (..., 4) -> (...)`, broadcast.
    """
    corners = torch.cat([torch.maximum(first[..., :2], second[..., :2]), torch.minimum(first[..., 2:], second[..., 2:])], dim=-1)
    shared = areas(corners)
    union = areas(first) + areas(second) - shared
    return shared / union.clamp(min=torch.finfo(shared.dtype).tiny)


def overlaps(first: Tensor, second: Tensor) -> Tensor:
    """Return the intersection over the union of every pair: `(..., N, 4), (..., M, 4) -> (..., N, M)`."""
    return overlap(first[..., :, None, :], second[..., None, :, :])


def centre_form(boxes: Tensor) -> Tensor:
    """`(x1, y1, x2, y2)` to `(centre x, centre y, width, height)`, `(..., 4) -> (..., 4)`."""
    return torch.cat([(boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]], dim=-1)


def corner_form(boxes: Tensor) -> Tensor:
    """`(centre x, centre y, width, height)` to `(x1, y1, x2, y2)`, `(..., 4) -> (..., 4)`."""
    return torch.cat([boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2], dim=-1)


def suppress(boxes: Tensor, labels: Tensor, threshold: float) -> Tensor:
    """Non-maximum suppression class by class (notes 003 line 1498): of the boxes left, keep the best, drop its doubles, until none is left.

    Notes 003 drop at an overlap of the threshold and above and do not say that the steps repeat; here, as in 004 erratum E25, a box goes only
    if it overlaps a **kept** box of its class by **more** than the threshold.

    Args:
        boxes: `(B, N, 4)`, best first.
        labels: int64 `(B, N)`.
        threshold: of intersection over union.

    Returns:
        Which are kept, bool `(B, N)`.
    """
    doubles = (overlaps(boxes, boxes) > threshold) & (labels[:, :, None] == labels[:, None, :])
    doubles = doubles.triu(diagonal=1)  # only a better one drops another
    kept = torch.ones_like(labels, dtype=torch.bool)
    for rank in range(labels.shape[1] - 1):  # all images at once: what is kept depends on what was kept before
        kept &= ~(doubles[:, rank] & kept[:, rank : rank + 1])
    return kept


def owners(offsets: Tensor, count: int) -> Tensor:
    """Return which row each value of a ragged column belongs to: `(B + 1,)` and the number of values V -> int64 `(V,)`."""
    return torch.repeat_interleave(torch.arange(len(offsets) - 1, device=offsets.device), offsets.diff(), output_size=count)
