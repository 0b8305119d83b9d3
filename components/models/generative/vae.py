"""The variational autoencoder (Kingma and Welling 2014, "Auto-encoding variational Bayes", appendix C; notes 002 M59, 003 G2).

Dimensions: B batch, Q latent, S latent samples of an input, `shape` that of an input.

The encoder gives a Gaussian with a diagonal covariance, the decoder the logits of independent Bernoulli pixels (C.1). One hidden layer each, as in
the paper, with ReLU in the place of its tanh. Mean and log-variance share the hidden layer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn


class VAE(nn.Module):
    """Encoder and decoder of fully connected layers.

    Args:
        shape: of one input, such as [1, 28, 28].
        hidden: units of the one hidden layer of the encoder, and of the decoder.
        latent: Q.
    """

    def __init__(self, shape: Sequence[int], hidden: int = 500, latent: int = 20) -> None:
        super().__init__()
        self.shape, self.latent, size = tuple(shape), latent, math.prod(shape)
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(size, hidden), nn.ReLU(), nn.Linear(hidden, 2 * latent))
        self.decoder = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, size))

    def encode(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """(B, *shape) in [0, 1] -> the mean and the log-variance of q(z | x), (B, Q) each."""
        mean, log_variance = self.encoder(inputs).chunk(2, dim=1)
        return mean, log_variance

    def decode(self, latents: Tensor) -> Tensor:
        """(..., Q) -> logits of the pixels (..., *shape)."""
        logits: Tensor = self.decoder(latents)
        return logits.reshape(*latents.shape[:-1], *self.shape)

    def forward(self, inputs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encode, draw `z = mean + sigma * noise` (the reparameterisation) and decode: `(B, *shape) -> (B, S, *shape), (B, Q), (B, Q)`.

        Args:
            inputs: `(B, *shape)` in [0, 1].
            noise: `(B, S, Q)`, standard normal; zeros give the mean.

        Returns:
            Logits `(B, S, *shape)`, mean and log-variance `(B, Q)`.
        """
        mean, log_variance = self.encode(inputs)
        latents = mean[:, None] + (0.5 * log_variance)[:, None].exp() * noise
        return self.decode(latents), mean, log_variance
