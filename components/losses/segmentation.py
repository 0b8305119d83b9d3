"""Losses of segmentation. Each gives one sum a sample and says over what it is to be divided; pixels that are not valid have no part.

Notes 004 M37 (lines 857-882), formulas L9-L11. Erratum 004 E24: what the notes print as the Dice loss is the Dice coefficient, the loss
is one minus it; the weight of the generalized Dice is the inverse *square* of the frequency, its denominator is bracketed,
`sum_k w_k sum_m (Y + T)`; the Tversky loss sums `(1 - TI_c)`.

Dimensions: B batch, K classes, H, W pixels, M = H W.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SegmentationLoss(nn.Module, ABC):
    """Logits and targets to one sum a sample."""

    @abstractmethod
    def forward(self, logits: Tensor, targets: Tensor, valid: Tensor) -> Tensor:
        """(B, K, H, W), (B, H, W) int64, (B, H, W) bool -> (B,); where a pixel is not valid its target may be anything."""

    @abstractmethod
    def counts(self, targets: Tensor, valid: Tensor) -> Tensor:
        """Return what each sample's sum is divided by, from the targets alone: (B, H, W) int64, (B, H, W) bool -> (B,)."""


class PixelCrossEntropy(SegmentationLoss):
    """Cross entropy of each pixel's softmax, nats, weighted by its class; the mean is over the valid pixels' weights, as torch's is.

    Weights against rare classes: `median frequency / frequency`, a class's frequency being its share of the pixels of the images that hold
    it (Eigen and Fergus 2015, section 6.3.2; SegNet trains CamVid with them).

    Args:
        weights: K numbers, one a class; None: all 1.
    """

    def __init__(self, weights: Sequence[float] | None = None) -> None:
        super().__init__()
        self.weights = None if weights is None else [float(weight) for weight in weights]

    def forward(self, logits: Tensor, targets: Tensor, valid: Tensor) -> Tensor:
        """(B, K, H, W), (B, H, W) int64, (B, H, W) bool -> (B,), weighted nats."""
        exact = _exact(logits)
        weight = None if self.weights is None else exact.new_tensor(self.weights)
        losses = F.cross_entropy(exact, targets.masked_fill(~valid, -1), weight, ignore_index=-1, reduction="none")
        return losses.flatten(1).sum(1)

    def counts(self, targets: Tensor, valid: Tensor) -> Tensor:
        """(B, H, W) int64, (B, H, W) bool -> (B,): the sum of the valid pixels' weights."""
        if self.weights is None:
            return valid.flatten(1).sum(1)
        weights = torch.tensor(self.weights, device=targets.device)
        return (weights[targets.masked_fill(~valid, 0)] * valid).flatten(1).sum(1)


class GeneralizedDice(SegmentationLoss):
    """`1 - 2 sum_k w_k sum_m Y T / sum_k w_k sum_m (Y + T)` with `w_k = 1 / (sum_m T_km)^2` (Sudre et al. 2017; L9), one a sample.

    A class that a sample lacks has an infinite weight there; it is left out.
    """

    def forward(self, logits: Tensor, targets: Tensor, valid: Tensor) -> Tensor:
        """(B, K, H, W), (B, H, W) int64, (B, H, W) bool -> (B,), in [0, 1]."""
        return generalized_dice_loss(*_shares(logits, targets, valid))

    def counts(self, targets: Tensor, valid: Tensor) -> Tensor:
        """(B, H, W) int64, (B, H, W) bool -> (B,): each sample counts once."""
        return torch.ones(len(targets), device=targets.device)


class Tversky(SegmentationLoss):
    """`sum_c (1 - TI_c)`, `TI = (TP + s) / (TP + alpha FN + beta FP + s)` with soft counts (Salehi et al. 2017; L11), one a sample.

    With alpha = beta = 1/2 and s = 0 the index is the Dice coefficient (004 line 880). s keeps a gradient for classes that a sample lacks.

    Args:
        alpha: weight of what was missed.
        beta: weight of what was wrongly found.
        smooth: s, in pixels.
    """

    def __init__(self, alpha: float = 0.5, beta: float = 0.5, smooth: float = 1.0) -> None:
        super().__init__()
        self.alpha, self.beta, self.smooth = alpha, beta, smooth

    def forward(self, logits: Tensor, targets: Tensor, valid: Tensor) -> Tensor:
        """(B, K, H, W), (B, H, W) int64, (B, H, W) bool -> (B,), in [0, K]."""
        found, true = _shares(logits, targets, valid)
        hits = (found * true).sum(2)
        return (1 - tversky_index(hits, true.sum(2) - hits, found.sum(2) - hits, self.alpha, self.beta, self.smooth)).sum(1)

    def counts(self, targets: Tensor, valid: Tensor) -> Tensor:
        """(B, H, W) int64, (B, H, W) bool -> (B,): each sample counts once."""
        return torch.ones(len(targets), device=targets.device)


class Dice(Tversky):
    """`1 - mean over classes of (2 TP + s) / (2 TP + FN + FP + s)` with soft counts (Milletari et al. 2016; L10, erratum E24), one a sample.

    Args:
        smooth: s, in pixels.
    """

    def __init__(self, smooth: float = 1.0) -> None:
        super().__init__(0.5, 0.5, smooth / 2)

    def forward(self, logits: Tensor, targets: Tensor, valid: Tensor) -> Tensor:
        """(B, K, H, W), (B, H, W) int64, (B, H, W) bool -> (B,), in [0, 1]."""
        return super().forward(logits, targets, valid) / logits.shape[1]


def generalized_dice_loss(found: Tensor, true: Tensor) -> Tensor:
    """Return L9 of probabilities and one-hot targets, `(B, K, M), (B, K, M) -> (B,)`; 0 where there is no target at all."""
    sizes = true.sum(2)
    weights = torch.where(sizes > 0, sizes.clamp(min=1) ** -2.0, 0.0)
    total = (weights * (found + true).sum(2)).sum(1)
    loss = 1 - 2 * (weights * (found * true).sum(2)).sum(1) / torch.where(total > 0, total, 1.0)
    return torch.where(total > 0, loss, 0.0)


def tversky_index(hits: Tensor, missed: Tensor, wrong: Tensor, alpha: float, beta: float, smooth: float = 0.0) -> Tensor:
    """Return `(TP + s) / (TP + alpha FN + beta FP + s)`, elementwise."""
    return (hits + smooth) / (hits + alpha * missed + beta * wrong + smooth)


def _shares(logits: Tensor, targets: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Return softmax probabilities and one-hot targets, (B, K, M) each, zero where a pixel is not valid."""
    found = _exact(logits).softmax(1)
    true = F.one_hot(targets.masked_fill(~valid, 0), logits.shape[1]).movedim(-1, 1)
    return (found * valid[:, None]).flatten(2), (true * valid[:, None]).flatten(2).to(found.dtype)


def _exact(logits: Tensor) -> Tensor:
    """Half precision is computed in float32; float64 stays float64."""
    return logits if logits.dtype == torch.float64 else logits.float()
