"""From a prepared data set to batches on the device, the same for the loop and the evaluator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from components.data.dataset import ShardDataset
from components.data.draws import Draws
from components.data.sampling import epoch_batches, evaluation_batches
from components.spec.schema import Spec, Target
from components.spec.targets import build
from components.tasks.base import Batch
from components.training.session import Session


class Inputs:
    """One split's batches: fetched by index array, moved to the device, transformed there.

    Args:
        directory: the prepared data set.
        split: "train", "validation" or "test".
        spec: names the transforms and the seed.
        session: rank, world and device.
    """

    def __init__(self, directory: Path, split: str, spec: Spec, session: Session) -> None:
        self.dataset = ShardDataset(directory, split)
        self.spec, self.session = spec, session
        always = self._build(spec.augment.always)
        self._evaluation_transforms = always
        self._training_transforms = [*self._build(spec.augment.train), *always]

    @property
    def rows(self) -> int:
        return self.dataset.rows

    def _build(self, targets: tuple[Target, ...]) -> list[nn.Module]:
        return [build(t, card=self.dataset.card).to(self.session.device) for t in targets]

    def training(self, epoch: int) -> Iterator[tuple[Batch, Draws, float]]:
        """Yield this rank's batches of an epoch, with the draws of their samples and their weight (0 for a stand-in row)."""
        order = epoch_batches(self.rows, self.spec.trainer.batch_size, self.spec.seed, epoch, self.session.rank, self.session.world)
        for part in order:
            batch = self._fetch(part.indices)
            draws = Draws(self.spec.seed, epoch, batch["sample_id"])
            yield self._transform(batch, draws, self._training_transforms), draws, part.weight

    def evaluation(self, batch_size: int, max_batches: int | None = None) -> Iterator[Batch]:
        """Yield this rank's batches of one pass, every sample once over all ranks."""
        rows = self.evaluated_rows(batch_size, max_batches)
        for indices in evaluation_batches(rows, batch_size, self.session.rank, self.session.world):
            batch = self._fetch(indices)
            yield self._transform(batch, Draws(self.spec.seed, 0, batch["sample_id"]), self._evaluation_transforms)

    def evaluated_rows(self, batch_size: int, max_batches: int | None) -> int:
        """Return how many rows, from the first, one pass of `evaluation` takes over all ranks."""
        return self.rows if max_batches is None else min(self.rows, max_batches * batch_size)

    def _fetch(self, indices: object) -> Batch:
        device = self.session.device
        batch: dict[str, Tensor] = self.dataset.fetch(indices)  # type: ignore[arg-type]
        return batch if device.type == "cpu" else {k: v.pin_memory().to(device, non_blocking=True) for k, v in batch.items()}

    @staticmethod
    @torch.no_grad()
    def _transform(batch: Batch, draws: Draws, transforms: list[nn.Module]) -> Batch:
        for transform in transforms:
            batch = transform(batch, draws)
        return batch
