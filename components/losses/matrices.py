"""Losses of matrices that a network makes."""

from __future__ import annotations

import torch
from torch import Tensor


def orthogonality(matrices: Tensor) -> Tensor:
    """Return `|I - A A^T|_F^2` of each matrix, `(B, D, D) -> (B,)`, 0 where A turns without stretching (Qi et al. 2017, eq. 2; notes 003 line 3329).

    Of 2 I_3 it is 27. Half precision is computed in float32.
    """
    exact = matrices if matrices.dtype == torch.float64 else matrices.float()
    with torch.autocast(exact.device.type, enabled=False):
        identity = torch.eye(exact.shape[1], dtype=exact.dtype, device=exact.device)
        return (identity - exact @ exact.mT).square().sum((1, 2))
