"""Pixels in the range that a model wants, with no statistics: what a generative model has to draw, it must be able to reach."""

from __future__ import annotations

import torch
from torch import nn

from components.data.draws import Draws
from components.data.transforms import Batch

_WHITE = 255.0


class Rescale(nn.Module):
    """`low + (high - low) x / 255`, `(B, ...) -> (B, ...)` float32, for images of 8 bits.

    Args:
        low: what black becomes: 0 for Bernoulli pixels, -1 beside a tanh.
        high: what white becomes.
        column: which column of the batch.
    """

    def __init__(self, low: float = 0.0, high: float = 1.0, column: str = "inputs") -> None:
        super().__init__()
        self.low, self.high, self.column = low, high, column

    def forward(self, batch: Batch, draws: Draws) -> Batch:
        """The column rescaled, `(B, ...) -> (B, ...)` float32; the rest of the batch as it is."""
        share = batch[self.column].to(torch.float32) / _WHITE
        return {**batch, self.column: self.low + (self.high - self.low) * share}
