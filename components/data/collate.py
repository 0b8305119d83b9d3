"""Ragged columns to padded ones, for models that take a whole batch at once."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.data.draws import Draws

Batch = dict[str, Tensor]


class Pad(nn.Module):
    """Make a ragged column `(V, ...)` with `<column>.offsets (B + 1,)` a padded one, `(B, L, ...)` with `<column>.mask (B, L)` bool.

    Args:
        column: which column of the batch.
        length: L; a longer row is cut. None: the longest row of the batch, so that L differs from batch to batch.
        value: of the places that hold nothing.
    """

    def __init__(self, column: str, length: int | None = None, value: float = 0.0) -> None:
        super().__init__()
        self.column, self.length, self.value = column, length, value

    def forward(self, batch: Batch, draws: Draws) -> Batch:
        """Replace the column, `(V, ...) -> (B, L, ...)`; its offsets `(B + 1,)` go, its mask `(B, L)` (True: a value) comes."""
        others = {name: value for name, value in batch.items() if name != f"{self.column}.offsets"}
        padded, mask = pad(batch[self.column], batch[f"{self.column}.offsets"], self.length, self.value)
        return {**others, self.column: padded, f"{self.column}.mask": mask}


def pad(values: Tensor, offsets: Tensor, length: int | None = None, value: float = 0.0) -> tuple[Tensor, Tensor]:
    """Return rows side by side, `(V, ...), (B + 1,) -> (B, L, ...), (B, L)`; see `Pad`."""
    lengths = offsets.diff()
    longest = int(lengths.max()) if length is None else length
    places = torch.arange(longest, device=values.device)
    mask = places < lengths[:, None]
    padded = values.new_full((len(lengths), longest, *values.shape[1:]), value)
    padded[mask] = values[(offsets[:-1, None] + places)[mask]]
    return padded, mask
