"""Numbers that stay on the device until all of them are fetched at once."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Entry(NamedTuple):
    """What was measured of a layer; the same quantity may stand on the tape several times (micro-batches, a layer that is used twice)."""

    quantity: str
    layer: str
    weight: int  # how many values the measurement was made of, for adding up
    values: tuple[float, ...]


class Tape:
    """Takes measurements one by one and hands them over with one transfer to the host.

    A `float()` after each measurement would make a GPU wait for its host dozens of times a step.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[str, str, int, Tensor]] = []

    def write(self, quantity: str, layer: str, values: Tensor, weight: int = 1) -> None:
        """Note a few numbers, a tensor of any shape and dtype; all tensors of a tape are on one device."""
        self._waiting.append((quantity, layer, weight, values.detach().reshape(-1)))

    def read(self) -> list[Entry]:
        """Return what was written since the last reading, in order."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return []
        numbers = iter(torch.cat([values.double() for *_, values in waiting]).tolist())
        return [Entry(quantity, layer, weight, tuple(next(numbers) for _ in values)) for quantity, layer, weight, values in waiting]
