"""From a prepared data set to batches on the device, the same for the loop and the evaluator."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from components.data.card import Card
from components.data.dataset import ShardDataset, require_version
from components.data.draws import Draws
from components.data.sampling import Part, epoch_batches, evaluation_batches
from components.data.streams import Fetched, Order, Processes, Steps, Stream, direct, threaded
from components.errors import UserError
from components.spec.schema import Spec, Target
from components.spec.targets import build
from components.tasks.base import Batch, MicroBatch
from components.training.session import Session


class Inputs:
    """Batches of one split, or of several as one: fetched by index array, moved to the device, transformed there.

    Args:
        directory: the prepared data set.
        split: "train", "validation" or "test"; several are read end to end, each row with a number of its own.
        spec: names the transforms, the order, the seed and how rows are fetched.
        session: rank, world, device, and what `performance.loader=ray_data` stands for: components/ does not know Ray.
        content_sha256: the version that it must be, if any.
        trained_on: the card of the data that the model was trained on, where they are others: it goes on with their statistics.

    Attributes:
        card: what models and transforms are built from.

    Raises:
        UserError: the data cannot be read or are of another version, a transform cannot be built, or `ray_data` is asked for where there is no Ray.
    """

    def __init__(
        self,
        directory: Path,
        split: str | tuple[str, ...],
        spec: Spec,
        session: Session,
        content_sha256: str | None = None,
        trained_on: Card | None = None,
    ) -> None:
        self.dataset = ShardDataset(directory, *((split,) if isinstance(split, str) else split))
        if content_sha256 is not None:
            require_version(self.dataset, content_sha256)
        self.card = self.dataset.card if trained_on is None else replace(self.dataset.card, statistics=trained_on.statistics)
        self.spec, self.session = spec, session
        self._stream = self._choose_stream()
        always = self._build(spec.augment.always)
        self._evaluation_transforms = always
        self._training_transforms = [*self._build(spec.augment.train), *always]

    @property
    def rows(self) -> int:
        return self.dataset.rows

    def close(self) -> None:
        """End the processes that fetch, if there are any."""
        if isinstance(self._stream, Processes):
            self._stream.close()

    def _choose_stream(self) -> Stream:
        performance = self.spec.performance
        if performance.loader == "ray_data":
            if self.session.stream is None:
                raise UserError(
                    "performance.loader=ray_data needs Ray", received="a worker group without it", mend="choose cluster=local or cluster=ray"
                )
            return self.session.stream
        return Processes(performance.loader_workers, performance.prefetch_batches) if performance.loader_workers else direct

    def _build(self, targets: tuple[Target, ...]) -> list[nn.Module]:
        return [build(t, card=self.card).to(self.session.device) for t in targets]

    def training(self, epoch: int, start_sample: int = 0) -> Generator[list[MicroBatch], None, None]:
        """Return this rank's steps of an epoch, each the list of its `trainer.accumulate` micro-batches.

        Args:
            start_sample: how many samples of the epoch are done, over all ranks.

        Raises:
            UserError: the batch does not fit the data, or the epoch cannot start there (sampling.epoch_batches).
        """
        return self._training(self._order(epoch, start_sample), epoch)

    def _order(self, epoch: int, start_sample: int) -> Iterator[tuple[Part, ...]]:
        """A micro-batch is a rank: number i of this rank is what rank `rank + world * i` of `world * accumulate` takes."""
        trainer, rank, world = self.spec.trainer, self.session.rank, self.session.world
        ranks = (rank + world * i for i in range(trainer.accumulate))
        total = world * trainer.accumulate
        parts = [epoch_batches(self.rows, trainer.batch_size, self.spec.seed, epoch, r, total, start_sample, trainer.order) for r in ranks]
        return zip(*parts, strict=True)

    def _training(self, order: Order, epoch: int) -> Generator[list[MicroBatch], None, None]:
        with closing(self._fetched(order)) as steps:
            for step in steps:
                yield [self._micro_batch(part, epoch) for part in step]

    def _micro_batch(self, part: Fetched, epoch: int) -> MicroBatch:
        draws = Draws(self.spec.seed, epoch, part.batch["sample_id"])
        return MicroBatch(self._transform(part.batch, draws, self._training_transforms), draws, part.weight)

    def evaluation(self, batch_size: int, max_batches: int | None = None, lockstep: bool = False) -> Generator[tuple[Batch, bool], None, None]:
        """Yield this rank's batches of one pass, and whether each counts; every sample counts once over all ranks.

        Args:
            batch_size: the whole batch goes to one rank.
            max_batches: of all ranks together; None: all.
            lockstep: ranks that have run out go on with batches that do not count, as long as any rank has one that does. A model
                whose weights are shared out over the ranks needs every rank in every forward pass.
        """
        rows = self.evaluated_rows(batch_size, max_batches)
        parts = evaluation_batches(rows, batch_size, self.session.rank, self.session.world, lockstep)
        with closing(self._fetched((part,) for part in parts)) as steps:
            for (part,) in steps:
                draws = Draws(self.spec.seed, 0, part.batch["sample_id"])
                yield self._transform(part.batch, draws, self._evaluation_transforms), part.weight > 0

    def first(self, batch_size: int) -> tuple[Batch, Draws]:
        """Return the first rows of the split as one evaluation batch, whole on every rank, with their draws."""
        indices = np.arange(min(self.rows, batch_size))
        batch = {name: value.to(self.session.device) for name, value in self.dataset.fetch(indices).items()}
        draws = Draws(self.spec.seed, 0, batch["sample_id"])
        return self._transform(batch, draws, self._evaluation_transforms), draws

    def evaluated_rows(self, batch_size: int, max_batches: int | None) -> int:
        """Return how many rows, from the first, one pass of `evaluation` takes over all ranks."""
        return self.rows if max_batches is None else min(self.rows, max_batches * batch_size)

    def _fetched(self, order: Order) -> Steps:
        """The steps of `order`, on the device; with `performance.prefetch_batches`, fetched and copied there ahead by a thread."""
        steps = _on_device(self._stream(self.dataset, order), self.session.device)
        depth = self.spec.performance.prefetch_batches
        return threaded(steps, depth) if depth else steps

    @staticmethod
    @torch.no_grad()
    def _transform(batch: Batch, draws: Draws, transforms: list[nn.Module]) -> Batch:
        for transform in transforms:
            batch = transform(batch, draws)
        return batch


def _on_device(steps: Steps, device: torch.device) -> Steps:
    with closing(steps):
        for step in steps:
            yield step if device.type == "cpu" else [Fetched(_copied(part.batch, device), part.weight) for part in step]


def _copied(batch: Batch, device: torch.device) -> Batch:
    with torch.cuda.device(device):  # a thread starts at device 0, and pinning would open a context there
        return {name: value.pin_memory().to(device, non_blocking=True) for name, value in batch.items()}
