"""Keypoints as heatmaps and back (Tompson et al. 2015, section 3; notes 003 section 14.2.2, L2908-2910).

Legend: K joints, H', W' cells of a heatmap, s pixels of the image a cell on each axis; `...` is (B,) or (B, T).
"""

from __future__ import annotations

import torch
from torch import Tensor

_FLOOR = 1e-3  # of the peak: what a cell counts at least, because a network's outputs may be zero or negative


class HeatmapCodec:
    """A joint at p becomes `exp(-|cell - p|^2 / (2 sigma^2))`; the peak of a heatmap becomes a joint.

    Cell i lies over pixels `s i ... s i + s - 1`, so that its centre is at `s i + (s - 1) / 2`.

    Args:
        stride: s.
        sigma: of the Gaussian, in cells (one sigma off the joint a heatmap holds 0.6065; notes 003 L372).

    Raises:
        ValueError: one of them is not positive.
    """

    def __init__(self, stride: int, sigma: float) -> None:
        if stride < 1 or sigma <= 0:
            raise ValueError(f"stride and sigma must be positive, received {stride} and {sigma}")
        self.stride, self.sigma = stride, sigma

    def encode(self, keypoints: Tensor, height: int, width: int) -> Tensor:
        """Draw joints; one that is not labelled gives zeros, one outside the image the part of its Gaussian that is inside.

        Args:
            keypoints: `(..., K, 3)`, x and y in pixels, and 0 where the joint is not labelled.
            height, width: H', W'.

        Returns:
            `(..., K, H', W')` float32, separable: one exponential a row and one a column.
        """
        cells = (keypoints[..., :2].float() - (self.stride - 1) / 2) / self.stride
        columns, rows = (self._bell(cells[..., axis], size) for axis, size in ((0, width), (1, height)))
        labelled = (keypoints[..., 2] > 0).to(columns.dtype)[..., None, None]
        return rows[..., :, None] * columns[..., None, :] * labelled

    def _bell(self, centre: Tensor, size: int) -> Tensor:
        places = torch.arange(size, dtype=centre.dtype, device=centre.device)
        return torch.exp(-((places - centre[..., None]) ** 2) / (2 * self.sigma**2))

    def decode(self, heatmaps: Tensor) -> Tensor:
        """Find each joint at its heatmap's peak, between the cells.

        The logarithm of a Gaussian is a parabola, whose vertex three values give exactly: about the greatest cell,
        `offset = (l(-1) - l(1)) / (2 (l(-1) - 2 l(0) + l(1)))` on each axis (the Taylor step of DARK, Zhang et al. 2020, for an isotropic
        Gaussian). At the border of the map an axis keeps the cell's centre.

        Args:
            heatmaps: `(..., K, H', W')`, of a network or of `encode`.

        Returns:
            `(..., K, 3)` float32: x, y in pixels, and the peak's value.
        """
        maps = heatmaps.float()
        height, width = maps.shape[-2:]
        peak, place = maps.flatten(-2).max(dim=-1)
        row, column = place // width, place % width
        logs = maps.clamp(min=_FLOOR * peak.clamp(min=_FLOOR)[..., None, None]).log()
        across = logs.gather(-2, row[..., None, None].expand(*row.shape, 1, width)).squeeze(-2)
        down = logs.gather(-1, column[..., None, None].expand(*column.shape, height, 1)).squeeze(-1)
        x, y = column + _vertex(across, column), row + _vertex(down, row)
        centre = (self.stride - 1) / 2
        return torch.stack([x * self.stride + centre, y * self.stride + centre, peak], dim=-1)


def _vertex(profile: Tensor, place: Tensor) -> Tensor:
    """Return how far the parabola's vertex lies from the greatest value, in [-1/2, 1/2]: `(..., L)` and its argmax `(...)` -> `(...)`."""
    last = profile.shape[-1] - 1
    before, here, after = (profile.gather(-1, (place + d).clamp(0, last)[..., None]).squeeze(-1) for d in (-1, 0, 1))
    bend = before - 2 * here + after
    offset = torch.where(bend < 0, (before - after) / (2 * bend), 0.0).clamp(-0.5, 0.5)
    return torch.where((place > 0) & (place < last), offset, 0.0)
