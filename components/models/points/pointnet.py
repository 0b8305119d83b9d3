"""PointNet (Qi, Su, Mo and Guibas 2017, "PointNet: deep learning on point sets"; notes 003 T7): `f = gamma(max_i h(x_i))`.

Legend: B clouds, N points, W the width of the first layer (64 in the paper), K classes.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from components.layers.dropout import Dropout


class PointNetOutput(NamedTuple):
    """What a forward pass gives."""

    logits: Tensor  # (B, K)
    transform: Tensor | None  # (B, W, W), the feature transform; None of the vanilla form
    owners: Tensor  # (B, 16 W) int64, the point that each global feature was taken from; -1 where no point lifts it above 0


class PointNet(nn.Module):
    """Classification. `vanilla` leaves out both transforms (notes 003 3319-3321).

    The order of the points does not matter: every layer before the maximum treats each point alone. Parameters at W = 64, K = 40: 3,480,049
    (input transform 803,081, feature transform 1,857,344, shared layers 151,680, head 667,944), vanilla 819,624.

    Args:
        num_classes: K.
        width: W; the layers have W-W, W-2W-16W, 8W-4W-K units.
        vanilla: no transforms.
        dropout: before the last layer.
    """

    def __init__(self, num_classes: int, width: int = 64, vanilla: bool = False, dropout: float = 0.3) -> None:
        super().__init__()
        self.input_transform = None if vanilla else Transform(3, width)
        self.first = shared(3, width, width)
        self.feature_transform = None if vanilla else Transform(width, width)
        self.second = shared(width, width, 2 * width, 16 * width)
        self.head = nn.Sequential(shared(16 * width, 8 * width, 4 * width), Dropout(dropout), nn.Linear(4 * width, num_classes))

    def forward(self, inputs: Tensor) -> PointNetOutput:
        """(B, N, 3) -> logits (B, K), and what made them."""
        moved = inputs if self.input_transform is None else inputs @ self.input_transform(inputs)
        features = each_point(self.first, moved)
        transform = None if self.feature_transform is None else self.feature_transform(features)
        if transform is not None:
            features = features @ transform.to(features.dtype)
        greatest, owners = each_point(self.second, features).max(dim=1)
        return PointNetOutput(self.head(greatest), transform, torch.where(greatest > 0, owners, -1))


class Transform(nn.Module):
    """T-Net: a small PointNet whose answer is a matrix. It starts as the identity: the last layer's weights are 0, its bias is I (notes 003 L198).

    Args:
        size: D, of the points' features.
        width: W; the layers have W-2W-16W, 8W-4W-D^2 units.
    """

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.size = size
        self.points = shared(size, width, 2 * width, 16 * width)
        self.head = nn.Sequential(shared(16 * width, 8 * width, 4 * width), nn.Linear(4 * width, size * size))
        last = self.head[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        with torch.no_grad():
            last.bias.copy_(torch.eye(size).flatten())

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, N, D) -> (B, D, D)."""
        matrix: Tensor = self.head(each_point(self.points, inputs).amax(dim=1))
        return matrix.reshape(-1, self.size, self.size)


def shared(*widths: int) -> nn.Sequential:
    """Linear layers, each with batch normalisation and ReLU, `(M, widths[0]) -> (M, widths[-1])`."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.BatchNorm1d(after), nn.ReLU()]
    return nn.Sequential(*layers)


def each_point(layers: nn.Module, points: Tensor) -> Tensor:
    """Apply layers to each point alone, `(B, N, C) -> (B, N, C')`."""
    out: Tensor = layers(points.flatten(0, 1))
    return out.reshape(*points.shape[:2], -1)
