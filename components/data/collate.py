"""TEMPORARY: the lead's file replaces it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.data.draws import Draws


class Pad(nn.Module):
    """Ragged -> (B, L) and mask."""

    def __init__(self, column: str, length: int | None = None, value: int = 0) -> None:
        super().__init__()
        self.column, self.length, self.value = column, length, value

    def forward(self, batch: dict[str, Tensor], draws: Draws) -> dict[str, Tensor]:
        values, offsets = batch[self.column], batch[f"{self.column}.offsets"]
        lengths = offsets.diff()
        longest = int(lengths.max()) if self.length is None else self.length
        mask = torch.arange(longest, device=values.device) < lengths[:, None]
        padded = values.new_full(mask.shape, self.value)
        padded[mask] = values
        rest = {k: v for k, v in batch.items() if k != f"{self.column}.offsets"}
        return {**rest, self.column: padded, f"{self.column}.mask": mask}
