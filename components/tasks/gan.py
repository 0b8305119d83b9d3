"""Generative adversarial networks: two networks, two phases (notes 002 M61 M64, 003 G3 G4)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from components.data.card import Card
from components.data.draws import Draws
from components.losses.adversarial import AdversarialLoss
from components.metrics.base import Metric
from components.metrics.generative import Adversarial as AdversarialMetric
from components.tasks.base import Batch, Networks, Phase, StepContext, Task
from components.tasks.features import FeatureExtractor
from components.tasks.latents import interpolate, to_bytes

_SHEET, _PATHS, _STOPS = 64, 8, 10


class Adversarial(Task):
    """Batches hold `inputs (B, C, H, W)` in [-1, 1]. The model has a `generator`, noise `(B, Q)` to images in [-1, 1], and a `discriminator`,
    images to logits `(B,)`.

    A step is one update of the discriminator on a batch of real and one of generated images, each a pass of its own (its batch statistics are then of
    one kind), and one of the generator on other noise (Goodfellow et al. 2014, algorithm 1 with k = 1). Evaluation draws the same noise in every
    pass.

    Args:
        loss: whether the generator's loss saturates.
        card: of the data set; its images have 8 bits.
        latent: Q, the generator's.
        upstream: `features`, the checkpoint of a classifier of the same data: the Frechet distance is between its features. Without it there is none.
    """

    phases = (Phase("discriminator", "discriminator"), Phase("generator", "generator"))

    def __init__(self, loss: AdversarialLoss, card: Card, latent: int, upstream: Mapping[str, Path] | None = None) -> None:
        self.loss, self.latent = loss, latent
        features = (upstream or {}).get("features")
        self.extractor = None if features is None else FeatureExtractor(features, card)

    def split(self, model: nn.Module) -> dict[str, nn.Module]:
        """The two networks by the names of their phases."""
        return {phase.network: model.get_submodule(phase.network) for phase in self.phases}

    def counts(self, batch: Batch, context: StepContext) -> dict[str, Tensor | float]:
        """Terms `real` and `fake` of the discriminator, `fake` of the generator, over the number of samples."""
        count = float(len(batch["inputs"]))
        return {"fake": count} if context.phase.name == "generator" else {"real": count, "fake": count}

    def losses(self, networks: Networks, batch: Batch, context: StepContext) -> dict[str, Tensor]:
        """Sums over the batch, nats; the discriminator's two together are -V."""
        generator, discriminator = networks["generator"], networks["discriminator"]
        noise = context.draws.normal(f"latent of the {context.phase.name}", self.latent)
        if context.phase.name == "generator":
            return {"fake": self.loss.generator(discriminator(generator(noise))).sum()}
        with torch.no_grad():
            images = generator(noise)
        real_scores, fake_scores = discriminator(batch["inputs"]), discriminator(images)
        context.scores("discriminator", real_scores, fake_scores)
        real, fake = self.loss.discriminator(real_scores, fake_scores)
        return {"real": real.sum(), "fake": fake.sum()}

    def predict(self, networks: Networks, batch: Batch) -> dict[str, Tensor]:
        """Return for each real image and the one generated beside it: `real_scores`, `fake_scores`, `discriminator_losses` (also as `losses`),
        `generator_losses`, `(B,)` each; with an extractor `real_features`, `fake_features`, `(B, F)`."""
        inputs = batch["inputs"]
        images = networks["generator"](Draws(0, 0, batch["sample_id"]).normal("latent of the evaluation", self.latent))
        real_scores, fake_scores = networks["discriminator"](inputs), networks["discriminator"](images)
        losses = torch.stack(self.loss.discriminator(real_scores, fake_scores)).sum(dim=0)
        outputs = {"real_scores": real_scores, "fake_scores": fake_scores, "losses": losses, "discriminator_losses": losses}
        outputs["generator_losses"] = self.loss.generator(fake_scores)
        if self.extractor is not None:
            extractor = self.extractor.to(inputs.device)
            outputs |= {"real_features": extractor(_pixels(inputs)), "fake_features": extractor(_pixels(images))}
        return outputs

    def metrics(self) -> Metric:
        """Frechet distance where there is an extractor, the discriminator's accuracy, both losses."""
        return AdversarialMetric(0 if self.extractor is None else self.extractor.features)

    def samples(self, batch: Batch, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Of each real image its own loss `-log D(x)` (among `losses`: what the discriminator took for generated comes first) and logit."""
        own = self.loss.discriminator(outputs["real_scores"], outputs["fake_scores"])[0]
        return {"sample_id": batch["sample_id"], "losses": own, "real_scores": outputs["real_scores"]}

    def gallery(self, networks: Networks, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """Return 8-bit pixels: `generated (N, C, H, W)` and `interpolations (P, T, C, H, W)` on straight lines between two latent points."""
        ends = draws.normal("gallery ends", 2, self.latent)[:_PATHS]
        lines = interpolate(ends[:, 0], ends[:, 1], _STOPS)
        paths = networks["generator"](lines.flatten(0, 1)).unflatten(0, lines.shape[:2])
        generated = networks["generator"](draws.normal("gallery", self.latent)[:_SHEET])
        return {"generated": to_bytes(generated, -1.0, 1.0), "interpolations": to_bytes(paths, -1.0, 1.0)}


def _pixels(images: Tensor) -> Tensor:
    """[-1, 1] -> the raw units of 8 bits, 0 to 255, not rounded."""
    return (images.float() + 1.0) * 127.5
