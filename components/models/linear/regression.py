"""Linear regression (notes 003 C1-C3, eq. 2.1 and 2.5; notes 002 M3). Dimensions: B batch, D features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.errors import UserError


class LinearRegression(nn.Module):
    """`h(x) = theta_0 + theta_1 x_1 + ... + theta_D x_D`. It starts at zero, one of the two starts that the notes allow (003 L330).

    Args:
        features: the D names of the inputs; their number is what counts here.

    Raises:
        UserError: no names.
    """

    def __init__(self, features: list[str] | None) -> None:
        super().__init__()
        if not features:
            raise UserError("the model needs the names of its inputs", received=features, mend="list the columns under data.prepare.features")
        self.linear = nn.Linear(len(features), 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, D) -> (B,)."""
        found: Tensor = self.linear(inputs).squeeze(1)
        return found

    def theta(self) -> Tensor:
        """Return theta_0, ..., theta_D in the units of the inputs that the model is given, float64 `(D + 1,)`."""
        return torch.cat([self.linear.bias, self.linear.weight[0]]).detach().double()

    @torch.no_grad()
    def set_theta(self, theta: Tensor) -> None:
        """Take theta_0, ..., theta_D, `(D + 1,)`."""
        self.linear.bias.copy_(theta[:1])
        self.linear.weight.copy_(theta[None, 1:])
