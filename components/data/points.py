"""Point clouds: centring, turning, jitter. Legend: B clouds, N points."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from components.data.draws import Draws
from components.data.transforms import Batch


def in_unit_sphere(points: Tensor) -> Tensor:
    """Move each cloud's mean to the origin and scale its farthest point to distance 1, `(B, N, 3) -> (B, N, 3)`.

    A T-Net is a 3 x 3 matrix and cannot undo a translation, so this has to (notes 003 erratum 47).
    """
    centred = points - points.mean(1, keepdim=True)
    radius = centred.square().sum(2).amax(1).sqrt()
    return centred / radius.clamp(min=torch.finfo(points.dtype).tiny)[:, None, None]


def turned_about_z(points: Tensor, degrees: Tensor | float) -> Tensor:
    """Turn clouds counter-clockwise seen from +z, `(B, N, 3) -> (B, N, 3)`; degrees `(B,)` or one for all."""
    angle = torch.as_tensor(degrees, dtype=points.dtype, device=points.device).reshape(-1, 1) * (math.pi / 180)
    x, y, z = points.unbind(2)
    return torch.stack([angle.cos() * x - angle.sin() * y, angle.sin() * x + angle.cos() * y, z], dim=2)


class InUnitSphere(nn.Module):
    """`in_unit_sphere` of a column `(B, N, 3)`."""

    def __init__(self, column: str = "inputs") -> None:
        super().__init__()
        self.column = column

    def forward(self, batch: Batch, draws: Draws) -> Batch:
        """`(B, N, 3) -> (B, N, 3)` float32."""
        return {**batch, self.column: in_unit_sphere(batch[self.column].to(torch.float32))}


class MovePoints(nn.Module):
    """Turn each cloud about z by an angle uniform in [-degrees, degrees] and move each point by normal noise.

    Qi et al. 2017 (section 5.1) take any angle, and a deviation of 0.02.

    Args:
        degrees: 180 for any angle.
        jitter: standard deviation of each coordinate, in the cloud's units.
        column: `(B, N, 3)`.
    """

    def __init__(self, degrees: float = 0.0, jitter: float = 0.0, column: str = "inputs") -> None:
        super().__init__()
        self.degrees, self.jitter, self.column = degrees, jitter, column

    def forward(self, batch: Batch, draws: Draws) -> Batch:
        """`(B, N, 3) -> (B, N, 3)` float32."""
        points = batch[self.column].to(torch.float32)
        if self.degrees:
            points = turned_about_z(points, self.degrees * (2 * draws.uniform("move_points/angle", 1)[:, 0] - 1))
        if self.jitter:
            points = points + self.jitter * draws.normal("move_points/jitter", *points.shape[1:])
        return {**batch, self.column: points}
