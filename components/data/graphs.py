"""Transforms of graphs. Legend: B graphs, V nodes, F features."""

from __future__ import annotations

import torch
from torch import nn

from components.data.draws import Draws
from components.data.transforms import Batch


class ShareOut(nn.Module):
    """Divide each node's features by their sum, so that a long document weighs no more than a short one (Kipf and Welling 2017, section 5.2).

    A node without any stays at zero.

    Args:
        column: `(B, V, F)`, not negative.
    """

    def __init__(self, column: str = "inputs") -> None:
        super().__init__()
        self.column = column

    def forward(self, batch: Batch, draws: Draws) -> Batch:
        """`(B, V, F) -> (B, V, F)` float32, each row's sum 1."""
        values = batch[self.column].to(torch.float32)
        sums = values.sum(-1, keepdim=True)
        return {**batch, self.column: values / torch.where(sums > 0, sums, 1.0)}
