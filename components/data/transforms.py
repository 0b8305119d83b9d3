"""Transforms of whole batches, on the device: `forward(batch, draws) -> batch`. The given batch is left as it was.

Legend: B samples, C channels, H height, W width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.data.card import Card
from components.data.draws import Draws
from components.errors import UserError

Batch = dict[str, Tensor]


class Standardize(nn.Module):
    """`(x - mean) / std` per channel with the training split's statistics, `(B, C, ...) -> (B, C, ...)` float32.

    A channel that never varied is only centred.

    Args:
        card: of the data set.
        column: which column of the batch.

    Raises:
        UserError: the card has no statistics of that column.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, card: Card, column: str = "inputs") -> None:
        super().__init__()
        if column not in card.statistics:
            raise UserError(f"column '{column}' has no statistics to standardise with", received=column, expected=sorted(card.statistics))
        statistics = card.statistics[column]
        channel_shape = (-1, *[1] * max(0, len(card.columns[column].shape) - 1)) if card.columns[column].shape else ()
        std = [s if s > 0 else 1.0 for s in statistics.std]
        self.column = column
        self.register_buffer("mean", torch.tensor(statistics.mean, dtype=torch.float32).reshape(channel_shape))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).reshape(channel_shape))

    def forward(self, batch: Batch, draws: Draws) -> Batch:
        """`(B, C, ...) -> (B, C, ...)` float32 in the column; the rest of the batch as it is."""
        return {**batch, self.column: (batch[self.column].to(torch.float32) - self.mean) / self.std}


class Resize(nn.Module):
    """Bilinear resizing (pixel centres, `align_corners=False`), `(B, C, H, W) -> (B, C, size, size)` float32.

    Args:
        size: height and width, in pixels.
        column: which column of the batch.
    """

    def __init__(self, size: int, column: str = "inputs") -> None:
        super().__init__()
        self.size, self.column = size, column

    def forward(self, batch: Batch, draws: Draws) -> Batch:
        """`(B, C, H, W) -> (B, C, size, size)` float32."""
        images = batch[self.column].to(torch.float32)
        resized = F.interpolate(images, size=(self.size, self.size), mode="bilinear", align_corners=False)
        return {**batch, self.column: resized}


class RandomShift(nn.Module):
    """Move each image by a whole number of pixels, uniform in [-pixels, pixels] on each axis, zeros coming in.

    `(B, C, H, W) -> (B, C, H, W)` float32.

    Args:
        pixels: the largest shift.
        column: which column of the batch.
    """

    def __init__(self, pixels: int, column: str = "inputs") -> None:
        super().__init__()
        self.pixels, self.column = pixels, column

    def forward(self, batch: Batch, draws: Draws) -> Batch:
        """`(B, C, H, W) -> (B, C, H, W)` float32, each image moved by its own draw."""
        offsets = draws.integers("random_shift", -self.pixels, self.pixels + 1, 2)
        return {**batch, self.column: shift(batch[self.column].to(torch.float32), offsets, self.pixels)}


def shift(images: Tensor, offsets: Tensor, limit: int) -> Tensor:
    """Move images down and right: `out[b, c, y, x] = images[b, c, y - dy_b, x - dx_b]`, zero where that lies outside.

    Args:
        images: `(B, C, H, W)`.
        offsets: `(B, 2)` int64, (dy, dx) of each image, between -limit and limit.
        limit: in pixels.

    Returns:
        `(B, C, H, W)`, of the images' dtype.
    """
    count, _, height, width = images.shape
    padded = F.pad(images, (limit, limit, limit, limit)).permute(0, 2, 3, 1)
    rows = torch.arange(height, device=images.device) + limit - offsets[:, :1]
    columns = torch.arange(width, device=images.device) + limit - offsets[:, 1:]
    sample = torch.arange(count, device=images.device)[:, None, None]
    return padded[sample, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()
