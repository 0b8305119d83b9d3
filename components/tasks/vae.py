"""Variational autoencoders: maximise the evidence lower bound."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from components.data.draws import Draws
from components.losses.variational import bernoulli_nats, gaussian_kl, importance_bound
from components.metrics.base import Metric
from components.metrics.generative import Variational
from components.tasks.base import Batch, Networks, StepContext, Task
from components.tasks.latents import interpolate, to_bytes

_SHEET, _PATHS, _STOPS, _MANIFOLD = 64, 8, 10, 15


class VariationalAutoencoder(Task):
    """Batches hold `inputs (B, ...)` in [0, 1]; the model maps them and noise `(B, S, Q)` to logits `(B, S, ...)`, mean and log-variance `(B, Q)`.

    Training draws one latent sample an input and epoch; evaluation `importance_samples`, the same in every pass, so that figures of two epochs
    differ by the weights alone.

    Args:
        loss: module `(logits, inputs, mean, log-variance) -> (reconstruction (B,), divergence (B,))`.
        latent: Q, the model's.
        importance_samples: S in evaluation, of the importance-weighted bound.
    """

    def __init__(self, loss: nn.Module, latent: int, importance_samples: int = 16) -> None:
        self.loss, self.latent, self.importance_samples = loss, latent, importance_samples

    def counts(self, batch: Batch, context: StepContext) -> dict[str, Tensor | float]:
        """Two terms, `reconstruction` and `kl`, both over the number of samples."""
        return {"reconstruction": float(len(batch["inputs"])), "kl": float(len(batch["inputs"]))}

    def losses(self, networks: Networks, batch: Batch, context: StepContext) -> dict[str, Tensor]:
        """Sums over the batch, nats; together they are -ELBO."""
        outputs = networks["model"](batch["inputs"], context.draws.normal("latent", 1, self.latent))
        reconstruction, divergence = self.loss(outputs[0], batch["inputs"], *outputs[1:])
        return {"reconstruction": reconstruction.sum(), "kl": divergence.sum()}

    def predict(self, networks: Networks, batch: Batch) -> dict[str, Tensor]:
        """Return `losses`, `reconstruction`, `divergence`, `importance_bound`, `(B,)` nats each, `means (B, Q)` and `reconstructions (B, ...)`.

        The reconstruction is the decoded mean of q, as probabilities; the nats are means over S draws from q, whatever the training loss weighs.
        """
        inputs = batch["inputs"]
        noise = Draws(0, 0, batch["sample_id"]).normal("latent of the evaluation", self.importance_samples, self.latent)
        # The mean goes through the decoder beside the draws: one forward pass, as a sharded model needs it.
        logits, mean, log_variance = networks["model"](inputs, torch.cat([torch.zeros_like(noise[:, :1]), noise], dim=1))
        nats, divergence = bernoulli_nats(logits[:, 1:], inputs), gaussian_kl(mean, log_variance)
        reconstruction = nats.mean(dim=1)
        return {
            "losses": reconstruction + divergence,
            "reconstruction": reconstruction,
            "divergence": divergence,
            "importance_bound": importance_bound(nats, mean, log_variance, noise),
            "means": mean,
            "reconstructions": logits[:, 0].float().sigmoid(),
        }

    def metrics(self) -> Metric:
        """ELBO, its terms, the importance-weighted bound, active latent units."""
        return Variational(self.latent)

    def samples(self, batch: Batch, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses `(B,)` and reconstructions `(B, ...)` as 8-bit pixels."""
        pixels = to_bytes(outputs["reconstructions"], 0.0, 1.0)
        return {"sample_id": batch["sample_id"], "losses": outputs["losses"], "reconstructions": pixels}

    def gallery(self, networks: Networks, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """Return 8-bit pixels: `generated (N, ...)`, decoded draws of the prior; `interpolations (P, T, ...)`, from the mean of one input to that of
        another; `manifold (M, M, ...)` where the latent space has two dimensions: the quantiles of the prior on both axes."""
        decode = networks["model"].decode
        means, _ = networks["model"].encode(batch["inputs"])  # type: ignore[operator]
        paths = min(_PATHS, len(means) // 2)
        shown = {
            "generated": draws.normal("gallery", self.latent)[:_SHEET],
            "interpolations": interpolate(means[:paths], means[paths : 2 * paths], _STOPS),
        }
        if self.latent == 2:
            shown["manifold"] = _quantiles(_MANIFOLD, means)
        return {name: to_bytes(decode(latents).sigmoid(), 0.0, 1.0) for name, latents in shown.items()}  # type: ignore[operator]


def _quantiles(count: int, like: Tensor) -> Tensor:
    """(M, M, 2): the standard normal's quantiles at the middles of M equal parts, as y (from high to low) and x."""
    shares = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    values = (math.sqrt(2.0) * torch.erfinv(2.0 * shares - 1.0)).to(like)
    return torch.stack(torch.meshgrid(-values, values, indexing="ij"), dim=-1).flip(-1)
