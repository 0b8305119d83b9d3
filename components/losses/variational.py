"""The evidence lower bound and its parts (Kingma and Welling 2014; notes 002 M59 M60, 003 G2). Everything in nats, one value a sample.

Legend: B samples, S latent samples of each, Q latent dimensions.

    log p(x) >= log-mean-exp of S weights (Burda 2016) >= ELBO = E_q[log p(x | z)] - KL(q(z | x) || p(z)),   p(z) = N(0, I)

The reconstruction term is `-E_q[log p(x | z)]`: notes 002 erratum E29 (L4706 has it without the minus). 003 names no KL term at all.

Grey pixels: with x in [0, 1] instead of {0, 1} the term is the expectation over binary images b ~ Bernoulli(x) of -log p(b | z), so the ELBO bounds
E_b[log p(b)] from below (and so does the importance-weighted bound, for log-sum-exp is convex): a true bound on the log-likelihood of the images
binarised at random, not on a density of grey values.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, sigma^2) || N(0, 1)) summed over dimensions: `1/2 sum(mean^2 + sigma^2 - 1 - log sigma^2)`.

    (B, Q), (B, Q) -> (B,)
    """
    mean, log_variance = _exact(mean), _exact(log_variance)
    return 0.5 * (mean.square() + torch.expm1(log_variance) - log_variance).sum(dim=1)


def bernoulli_nats(logits: Tensor, targets: Tensor) -> Tensor:
    """Negative log-likelihood of Bernoulli pixels, `-sum(x log p + (1 - x) log(1 - p))` over all but the first two axes.

    (B, S, ...), (B, ...) in [0, 1] -> (B, S)
    """
    logits = _exact(logits)
    pixels = F.binary_cross_entropy_with_logits(logits, _exact(targets)[:, None].expand_as(logits), reduction="none")
    return pixels.flatten(2).sum(dim=2)


def importance_bound(nats: Tensor, mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """The importance-weighted bound, `log 1/S sum_s p(x | z_s) p(z_s) / q(z_s | x)` (Burda, Grosse, Salakhutdinov 2016, equation 8).

    It rises with S towards log p(x). S samples of the prior in q's place (notes 002 M60) have the same mean and a far greater variance (T47).

    Args:
        nats: `-log p(x | z_s)`, `(B, S)`.
        mean: of q, `(B, Q)`.
        log_variance: of q, `(B, Q)`.
        noise: `(B, S, Q)` with `z_s = mean + sigma * noise_s`.

    Returns:
        `(B,)`.
    """
    mean, log_variance, noise = _exact(mean)[:, None], _exact(log_variance)[:, None], _exact(noise)
    latents = mean + (0.5 * log_variance).exp() * noise
    # log p(z) - log q(z | x); the factors of 2 pi cancel
    log_ratio = 0.5 * (noise.square() + log_variance - latents.square()).sum(dim=2)
    return (log_ratio - nats).logsumexp(dim=1) - math.log(nats.shape[1])


class NegativeELBO(nn.Module):
    """Both terms of -ELBO for Bernoulli pixels; their sum is what is minimised."""

    def forward(self, logits: Tensor, targets: Tensor, mean: Tensor, log_variance: Tensor) -> tuple[Tensor, Tensor]:
        """Return the reconstruction, a mean over the S latent samples, and the KL divergence.

        (B, S, ...), (B, ...), (B, Q), (B, Q) -> (B,), (B,)
        """
        return bernoulli_nats(logits, targets).mean(dim=1), gaussian_kl(mean, log_variance)


def _exact(values: Tensor) -> Tensor:
    """Half precision, and bytes, as float32; float64 stays."""
    return values if values.dtype == torch.float64 else values.float()
