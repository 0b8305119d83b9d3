"""A perceptron that predicts the parameters of a density (notes 002 M18). Dimensions: B batch, D inputs, M components."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from components.errors import UserError


class DensityNetwork(nn.Module):
    """Layers with tanh, then linear outputs: 2 for one component (location, raw scale), 3 M for M > 1 (components.losses.density reads them).

    Args:
        in_features: D.
        hidden: the widths of the hidden layers.
        components: M.
        constant_scale: the raw scale is one number for all inputs, so that the location is learned as by the L2 or L1 loss alone; M = 1.

    Raises:
        UserError: a constant scale with several components, or no component.
    """

    def __init__(self, in_features: int = 1, hidden: tuple[int, ...] = (64, 64), components: int = 1, constant_scale: bool = False) -> None:
        super().__init__()
        if components < 1 or (constant_scale and components > 1):
            raise UserError("model.components does not fit", received=components, expected="1 with model.constant_scale, at least 1 without it")
        widths = [in_features, *hidden]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.Tanh()]
        self.body = nn.Sequential(*layers)
        outputs = 1 if constant_scale else 2 if components == 1 else 3 * components
        self.head = nn.Linear(widths[-1], outputs)
        self.raw_scale = nn.Parameter(torch.zeros(1)) if constant_scale else None

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, D) -> (B, 2) or (B, 3 M)."""
        outputs: Tensor = self.head(self.body(inputs))
        if self.raw_scale is None:
            return outputs
        return torch.cat([outputs, self.raw_scale.to(outputs.dtype).expand(outputs.shape[0], 1)], dim=1)
