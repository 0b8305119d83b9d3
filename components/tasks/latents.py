"""What tasks with a latent space share when they show it."""

from __future__ import annotations

import torch
from torch import Tensor


def interpolate(first: Tensor, second: Tensor, stops: int) -> Tensor:
    """Straight lines between points, ends included (DCGAN, section 6.1; notes 002 M64, 003 G6): (P, Q), (P, Q) -> (P, stops, Q)."""
    share = torch.linspace(0.0, 1.0, stops, dtype=first.dtype, device=first.device)[None, :, None]
    return torch.lerp(first[:, None], second[:, None], share)


def to_bytes(values: Tensor, low: float, high: float) -> Tensor:
    """Values of [low, high] as 8-bit pixels, rounded, the rest cut off: (...) -> (...) uint8."""
    share = (values.float() - low) / (high - low)
    return (255.0 * share.clamp(0.0, 1.0)).round().to(torch.uint8)
