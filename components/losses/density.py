"""Heads that predict a distribution of y, and their negative log likelihoods (notes 002 M18, L1241-1322).

Dimensions: B batch, M components. A head is one object with the loss (`forward`) and the distribution that it reads from a network's
outputs (`mixture`), so that what is learned and what is predicted cannot differ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.errors import UserError

LEAST_SCALE = 1e-3  # in units of the targets
Family = Literal["gaussian", "laplace"]
_BISECTIONS = 50  # halves a bracket of 1e3 to below float32's resolution


def gaussian_nll(locations: Tensor, scales: Tensor, targets: Tensor) -> Tensor:
    """`log(sigma sqrt(2 pi)) + ((y - mu) / sigma)^2 / 2`, nats; shapes that broadcast. With sigma fixed it is the L2 loss (002 L1241-1251)."""
    return scales.log() + 0.5 * math.log(2 * math.pi) + 0.5 * ((targets - locations) / scales).square()


def laplace_nll(locations: Tensor, scales: Tensor, targets: Tensor) -> Tensor:
    """`log(2 g) + |y - f| / g`, nats; shapes that broadcast (002 L1285). With g fixed it is the L1 loss (002 L1268-1279)."""
    return (2 * scales).log() + (targets - locations).abs() / scales


@dataclass(frozen=True)
class Mixture:
    """B distributions of one number each: `p(y) = sum_m w_m p_m(y; location_m, scale_m)`.

    Args:
        family: of every component; the scale is sigma of the Gaussian, g of Laplace.
        log_weights, locations, scales: `(B, M)`.
    """

    family: Family
    log_weights: Tensor
    locations: Tensor
    scales: Tensor

    def nll(self, targets: Tensor) -> Tensor:
        """`-log p(y)`, nats: (B,) -> (B,). By logsumexp, so that a far target gives a large number and not an infinite one (002 L1303)."""
        nll = gaussian_nll if self.family == "gaussian" else laplace_nll
        return -torch.logsumexp(self.log_weights - nll(self.locations, self.scales, targets[:, None]), dim=1)

    def mean(self) -> Tensor:
        """(B,)."""
        return (self.log_weights.exp() * self.locations).sum(dim=1)

    def deviation(self) -> Tensor:
        """Standard deviation, (B,). Laplace's is sqrt(2) g."""
        own = self.scales.square() * (1.0 if self.family == "gaussian" else 2.0)
        spread = (self.locations - self.mean()[:, None]).square()
        return (self.log_weights.exp() * (own + spread)).sum(dim=1).sqrt()

    def cdf(self, values: Tensor) -> Tensor:
        """P(y <= value), (B, Q) -> (B, Q)."""
        z = (values[:, :, None] - self.locations[:, None]) / self.scales[:, None]
        each = torch.special.ndtr(z) if self.family == "gaussian" else 0.5 + 0.5 * z.sign() * (1.0 - (-z.abs()).exp())
        return (self.log_weights.exp()[:, None] * each).sum(dim=2)

    def quantiles(self, levels: Tensor) -> Tensor:
        """The values whose cdf is each level, by bisection, for a mixture's has no closed inverse: (Q,) in (0, 1) -> (B, Q)."""
        reach = 20.0 * self.scales  # Laplace: all but e^-20
        low = (self.locations - reach).amin(dim=1, keepdim=True).expand(-1, len(levels))
        high = (self.locations + reach).amax(dim=1, keepdim=True).expand(-1, len(levels))
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            below = self.cdf(middle) < levels
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return (low + high) / 2


class DensityHead(nn.Module):
    """Reads `(B, 2)` as location and raw scale, or `(B, 3 M)` as M raw weights, M locations and M raw scales.

    Bishop 1994, "Mixture density networks"; notes 002 L1299-1312 with Laplace distributions.
    Weights go through the softmax. Scales go through softplus plus `LEAST_SCALE`: the notes' ReLU (002 L1318, erratum E8) can give a scale of 0.
    Half precision is computed in float32; float64 stays float64.

    Args:
        family: of every component.

    Raises:
        UserError: there is no such family.
    """

    def __init__(self, family: Family = "laplace") -> None:
        super().__init__()
        if family not in ("gaussian", "laplace"):
            raise UserError("loss.family has no such value", received=family, expected="gaussian or laplace")
        self.family: Family = family

    def mixture(self, outputs: Tensor) -> Mixture:
        """(B, 2) or (B, 3 M) -> (B, M) each.

        Raises:
            UserError: the outputs have another size.
        """
        exact = outputs if outputs.dtype == torch.float64 else outputs.float()
        if exact.shape[1] == 2:
            locations, raw_scales = exact.chunk(2, dim=1)
            return Mixture(self.family, torch.zeros_like(locations), locations, F.softplus(raw_scales) + LEAST_SCALE)
        if exact.shape[1] % 3:
            raise UserError("the model's outputs do not fit the density", received=f"{exact.shape[1]} outputs", expected="2, or 3 a component")
        raw_weights, locations, raw_scales = exact.chunk(3, dim=1)
        return Mixture(self.family, raw_weights.log_softmax(dim=1), locations, F.softplus(raw_scales) + LEAST_SCALE)

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Negative log likelihood in nats, (B, 2) or (B, 3 M), (B,) -> (B,)."""
        mixture = self.mixture(outputs)
        return mixture.nll(targets.to(mixture.locations.dtype))
