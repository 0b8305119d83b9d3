"""Losses of classification. Each gives one value a sample; the task adds them up and the loop divides by the global count."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def cross_entropy(logits: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Cross entropy of the softmax, one value a sample: `-sum_k q_k log softmax(logits)_k`, nats.

    `q = (1 - s) * one_hot(target) + s / K` with s the smoothing (Szegedy et al. 2016, section 7).

    Half precision is computed in float32; float64 stays float64.

    (B, K), (B,) int64 -> (B,)
    """
    exact = logits if logits.dtype == torch.float64 else logits.float()
    return F.cross_entropy(exact, targets, label_smoothing=label_smoothing, reduction="none")


class CrossEntropy(nn.Module):
    """`cross_entropy` with its smoothing fixed."""

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        if not 0.0 <= label_smoothing < 1.0:
            raise ValueError(f"label_smoothing must lie in [0, 1), received {label_smoothing}")
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """(B, K), (B,) -> (B,)."""
        return cross_entropy(logits, targets, self.label_smoothing)
