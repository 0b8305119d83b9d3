"""What a person would write at the top of a training script: data, model, loss, optimizer, schedule. The loops below it differ, this does not.

Nothing of the training engine is used: torch, NumPy, and the model itself.

Dimensions: B batch, T tokens of a sequence, K classes, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.training.systems import Plain, System
from components.data.card import load_card
from components.data.permutation import permutation
from components.spec.targets import resolve

_SEED = 0


class Batches:
    """The batches of an epoch, on the device, standardised and resized; each time that it is iterated, the next epoch.

    Rows lie in files that are mapped into memory, as nanoGPT has them. The order is that of the specification, or there would be nothing to compare.
    """

    def __init__(self, system: System, data: Path, device: torch.device) -> None:
        self.system, self.device, self.epoch = system, device, 0
        names = ("inputs", "targets") if system.column == "inputs" else ("tokens",)
        self.columns = [_mapped(data, name) for name in names]
        self.size = next((t["size"] for t in system.transforms if "size" in t), None)
        if system.column == "inputs":
            statistics = load_card(data).statistics["inputs"]
            self.mean = torch.tensor(statistics.mean, dtype=torch.float32, device=device).view(-1, 1, 1)
            self.std = torch.tensor(statistics.std, dtype=torch.float32, device=device).view(-1, 1, 1)

    def __len__(self) -> int:
        return self.system.rows // self.system.batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield inputs (B, C, H, W) and targets (B,), or inputs (B, T) and targets (B, T)."""
        epoch, self.epoch = self.epoch, self.epoch + 1
        for rows in self._order(epoch):
            columns = [self._to_device(column[rows]) for column in self.columns]
            yield self._images(*columns) if self.system.column == "inputs" else self._tokens(*columns)

    def _order(self, epoch: int) -> Iterator[Tensor]:
        rows, size = self.system.rows, self.system.batch_size
        if self.system.carried:  # each place in the batch follows a text of its own
            yield from torch.arange(rows).view(size, -1).t()
        else:
            yield from torch.from_numpy(permutation(rows, _SEED, epoch)).split(size)  # type: ignore[no-untyped-call]

    def _to_device(self, column: Tensor) -> Tensor:
        return column if self.device.type == "cpu" else column.pin_memory().to(self.device, non_blocking=True)

    def _images(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        inputs = (inputs.float() - self.mean) / self.std
        if self.size is not None:
            inputs = F.interpolate(inputs, size=(self.size, self.size), mode="bilinear", align_corners=False)
        return inputs, targets

    def _tokens(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        tokens = tokens.long()
        return tokens[:, :-1], tokens[:, 1:]


def _mapped(data: Path, column: str) -> Tensor:
    """A column of the training rows; in memory where it lies in several files."""
    shards = [torch.from_numpy(np.load(path, mmap_mode="c")) for path in sorted(data.glob(f"train-*.{column}.npy"))]
    return shards[0] if len(shards) == 1 else torch.cat(shards)


class Recipe:
    """A model in training, its loss, its optimizer and its schedule.

    Args:
        system: what to train.
        data: prepared directory.
        steps: of the whole training.
        device: of the model.
    """

    def __init__(self, system: System, data: Path, steps: int, device: torch.device) -> None:
        torch.manual_seed(_SEED)
        self.system, self.steps = system, steps
        self.batches = Batches(system, data, device)
        self.model: nn.Module = resolve(system.model["_target_"])(**_options(system.model)).to(device).train()
        self.optimizer: torch.optim.Optimizer = resolve(system.optimizer["_target_"])(self._groups(), **_options(system.optimizer))
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: 0.5 * (1.0 + math.cos(math.pi * step / steps)))
        self.state: Any = None  # of a recurrent model, from batch to batch

    def _groups(self) -> list[dict[str, Any]]:
        """As nanoGPT has them: weights of layers and embeddings decay, biases and norms do not."""
        parameters = list(self.model.parameters())
        if not self.system.parameters:
            return [{"params": parameters}]
        decayed, others = [p for p in parameters if p.dim() >= 2], [p for p in parameters if p.dim() < 2]
        return [{"params": decayed}, {"params": others, "weight_decay": 0.0}]

    def new_epoch(self) -> None:
        """Recurrent state starts from zero."""
        self.state = None

    def loss(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross entropy of a batch, scalar."""
        if self.system.carried:
            logits, state = model(inputs, self.state) if self.state is not None else model(inputs)
            self.state = {name: value.detach() for name, value in state.items()}
        else:
            logits = model(inputs)
        return F.cross_entropy(logits.flatten(0, -2).float(), targets.flatten())


def _options(target: Plain) -> Plain:
    return {key: value for key, value in target.items() if key != "_target_"}
