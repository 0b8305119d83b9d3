"""The Frechet distance between two sets of features (Heusel et al. 2017, "GANs trained by a two time-scale update rule"; notes 002 L4928, T51).

Legend: N samples, F features.
"""

from __future__ import annotations

import torch
from torch import Tensor


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """The squared Frechet (2-Wasserstein) distance of the Gaussians that have the sets' means and covariances, in squared units of the features.

    Its size depends on the features and, through the estimate of the covariances, on N: compare only values of one extractor and one N. With
    Inception-v3's pool3 it is called FID.

    (N, F), (M, F) -> a number, at least 0; computed in float64

    Raises:
        ValueError: a set has fewer than two samples, so no covariance.
    """
    if min(len(first), len(second)) < 2:
        raise ValueError(f"a covariance needs two samples, received {len(first)} and {len(second)}")
    first, second = first.double(), second.double()
    return gaussian_frechet_distance(first.mean(dim=0), _covariance(first), second.mean(dim=0), _covariance(second))


def gaussian_frechet_distance(first_mean: Tensor, first_covariance: Tensor, second_mean: Tensor, second_covariance: Tensor) -> float:
    """`|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))` (Dowson and Landau 1982).

    `S1 S2` is not symmetric, but has the eigenvalues of `S1^(1/2) S2 S1^(1/2)`, which is; so its root's trace is the sum of real, non-negative roots,
    even where a covariance is singular.

    (F,), (F, F), (F,), (F, F), float64 -> a number, at least 0
    """
    values, vectors = torch.linalg.eigh(first_covariance)
    root = (vectors * values.clamp_min(0.0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ second_covariance @ root).clamp_min(0.0).sqrt().sum()
    distance = (first_mean - second_mean).square().sum() + first_covariance.trace() + second_covariance.trace() - 2.0 * cross
    return max(0.0, float(distance))


def _covariance(samples: Tensor) -> Tensor:
    """(N, F) -> (F, F), unbiased."""
    centred = samples - samples.mean(dim=0)
    return centred.T @ centred / (len(samples) - 1)
