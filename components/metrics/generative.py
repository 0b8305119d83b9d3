"""Scores of generative models. N samples, Q latent dimensions, F features."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from components.errors import RunError
from components.metrics.base import Metric, State, gather_samples
from components.metrics.frechet import frechet_distance

_ACTIVE_VARIANCE = 0.01  # Burda et al. 2016, section 5.2


class _PerSample(Metric):
    """Keeps columns of every sample, as float64.

    Args:
        columns: name of an output -> the shape of one sample's value.
    """

    def __init__(self, columns: Mapping[str, tuple[int, ...]]) -> None:
        self._columns = dict(columns)
        self._batches: list[State] = []

    def update(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> None:
        """Take one batch: the named outputs, `(B, ...)` each, and `sample_id`."""
        kept = {name: outputs[name].detach().cpu().double() for name in self._columns}
        self._batches.append({"sample_id": batch["sample_id"].detach().cpu().long(), **kept})

    def state(self) -> State:
        """Return this rank's samples, each tensor `(n_rank, ...)`."""
        empty = {name: torch.empty(0, *shape, dtype=torch.float64) for name, shape in self._columns.items()}
        empty["sample_id"] = torch.empty(0, dtype=torch.int64)
        return {name: torch.cat([nothing, *(part[name] for part in self._batches)]) for name, nothing in empty.items()}

    def gathered(self, states: Sequence[State]) -> State:
        """Join the ranks' samples.

        Raises:
            AssertionError: no sample at all, or one seen twice.
            RunError: a value is no number.
        """
        samples = gather_samples(states)
        assert len(samples["sample_id"]) > 0, "no sample was evaluated"
        for name in self._columns:
            bad = samples["sample_id"][~samples[name].reshape(len(samples["sample_id"]), -1).isfinite().all(dim=1)]
            if len(bad):
                raise RunError(f"The model gave a {name} that is no number for {len(bad)} samples, first sample_id {int(bad[0])}.")
        return samples


class Variational(_PerSample):
    """The evidence lower bound and its parts.

    Args:
        latent: Q.
    """

    def __init__(self, latent: int) -> None:
        super().__init__({"reconstruction": (), "divergence": (), "importance_bound": (), "means": (latent,)})

    def compute(self, states: Sequence[State]) -> dict[str, Any]:
        """Return means over the samples, nats.

        Returns:
            `elbo`, its parts `reconstruction` (-E_q log p(x|z)) and `kl`, `loss` (-elbo), `importance_bound` (between the ELBO and log p(x)),
            `active_units` (latent dimensions whose posterior mean has a variance above 0.01 over the data: the others say nothing of the input);
            `samples` (N).

        Raises:
            AssertionError: no sample at all, or one seen twice.
            RunError: a value is no number.
        """
        samples = self.gathered(states)
        reconstruction, kl = _mean(samples["reconstruction"]), _mean(samples["divergence"])
        return {
            "elbo": -reconstruction - kl,
            "reconstruction": reconstruction,
            "kl": kl,
            "loss": reconstruction + kl,
            "importance_bound": _mean(samples["importance_bound"]),
            "active_units": int((samples["means"].var(dim=0, correction=0) > _ACTIVE_VARIANCE).sum()),
            "samples": len(samples["sample_id"]),
        }


class Adversarial(_PerSample):
    """What the two sides of a GAN think of each other, and how far apart real and generated samples are.

    Args:
        features: F, of the extractor; 0: there is none, and no Frechet distance.
    """

    def __init__(self, features: int) -> None:
        self._features = features
        shapes = {"real_features": (features,), "fake_features": (features,)} if features else {}
        super().__init__({"real_scores": (), "fake_scores": (), "discriminator_losses": (), "generator_losses": (), **shapes})

    def compute(self, states: Sequence[State]) -> dict[str, Any]:
        """Return the scores over all samples.

        Returns:
            `frechet` (where there are features and two samples); `discriminator_accuracy` (a logit above 0 says real; 1/2 where it can tell
            nothing), the same on `_real` and on `_fake` samples alone; `discriminator_loss` and `generator_loss` (nats); `samples` (N).

        Raises:
            AssertionError: no sample at all, or one seen twice.
            RunError: a value is no number.
        """
        samples = self.gathered(states)
        count = len(samples["sample_id"])
        real, fake = int((samples["real_scores"] > 0).sum()), int((samples["fake_scores"] <= 0).sum())
        scores: dict[str, Any] = {}
        if self._features and count > 1:
            scores["frechet"] = frechet_distance(samples["real_features"], samples["fake_features"])
        return scores | {
            "discriminator_accuracy": (real + fake) / (2 * count),
            "discriminator_accuracy_real": real / count,
            "discriminator_accuracy_fake": fake / count,
            "discriminator_loss": _mean(samples["discriminator_losses"]),
            "generator_loss": _mean(samples["generator_losses"]),
            "samples": count,
        }


def _mean(values: Tensor) -> float:
    # fsum is correctly rounded, so neither the order nor the number of threads can change the last bit.
    return math.fsum(values.tolist()) / len(values)
