"""What pose networks share."""

from __future__ import annotations

from torch import nn


def start_small(head: nn.Module) -> None:
    """Draw the weights of a layer of heatmaps near zero, as most of a heatmap is (Xiao, Wu, Wei 2018, whose code has this standard deviation)."""
    assert isinstance(head, nn.Conv2d) and head.bias is not None
    nn.init.normal_(head.weight, std=1e-3)
    nn.init.zeros_(head.bias)
