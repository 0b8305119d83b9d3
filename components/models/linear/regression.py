"""Linear regression (notes 003 C1-C3, eq. 2.1 and 2.5; notes 002 M3). Dimensions: B batch, D features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.errors import UserError


class LinearRegression(nn.Module):
    """`h(x) = theta_0 + theta_1 x_1 + ... + theta_D x_D`. It starts at zero, one of the two starts that the notes allow (003 L330).

    Args:
        features: the D names of the inputs; their number is what counts here. None: as many as a row of the data has.
        input_shape: of a row of the data, which is known once it is prepared.

    Raises:
        UserError: neither is known, or a row is no vector.
    """

    def __init__(self, features: list[str] | None = None, input_shape: tuple[int, ...] | None = None) -> None:
        super().__init__()
        shape = input_shape if features is None else (len(features),)
        if shape is None or len(shape) != 1:
            received = f"features={features}, rows of shape {input_shape}"
            raise UserError("the model needs the number of its inputs", received=received, mend="list the columns under data.prepare.features")
        self.linear = nn.Linear(shape[0], 1)
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
