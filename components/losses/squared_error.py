"""Squared error. One value a sample; the task adds them up and the loop divides by the global count."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class HalfSquaredError(nn.Module):
    """`(h - y)^2 / 2`, whose mean over m samples is the cost `J = 1/(2m) sum (h - y)^2` of notes 003 eq. 2.2.

    Notes 002 M3 have the sum without the half; the minimum is the same. Half precision is computed in float32; float64 stays float64.
    """

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """(B,), (B,) -> (B,)."""
        exact = predictions if predictions.dtype == torch.float64 else predictions.float()
        return 0.5 * (exact - targets).square()
