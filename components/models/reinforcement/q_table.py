"""A table of action values (Watkins 1989; notes 004 M46). Dimensions: B batch, S states, A actions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class QTable(nn.Module):
    """Q(s, a), one number for each state and action, zero at first.

    Args:
        states: S.
        actions: the A names of the actions; their number is what counts here.
    """

    def __init__(self, states: int, actions: list[str]) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.zeros(states, len(actions)))

    def forward(self, states: Tensor) -> Tensor:
        """States (B, ...) int64 -> Q (B, ..., A)."""
        return F.embedding(states, self.values)
