"""Augmentation of images by geometry (notes 002 section 10): whole batches, on the device, every random number from Draws.

These move raw pixels, so they stand before standardisation; the given batch is left as it was. Like the transforms of transforms.py they
are modules `forward(batch, draws) -> batch`. Two of one class in a list draw the same numbers. Colour and noise: augment_color.py.

Legend: B samples, C channels, H height, W width, S a size in pixels.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.data.draws import Draws
from components.data.transforms import Batch, shift
from components.errors import UserError

Range = tuple[float, float] | list[float]  # low, high; configuration gives a list


class RandomFlip(nn.Module):
    """Mirror an image with some probability (notes 002 erratum E14: imgaug's name is Fliplr). Not for letters: a mirrored d is a b.

    Args:
        axis: `horizontal` exchanges left and right, `vertical` top and bottom.
        probability: of each image.
        column: which column of the batch.
    """

    def __init__(self, axis: Literal["horizontal", "vertical"] = "horizontal", probability: float = 0.5, column: str = "inputs") -> None:
        super().__init__()
        if axis not in ("horizontal", "vertical"):
            raise ValueError(f"axis must be horizontal or vertical, received {axis!r}")
        self.axis, self.probability, self.column = axis, _probability(probability), column

    def forward(self, batch: Batch, draws: Draws) -> Batch:
        """`(B, C, H, W) -> (B, C, H, W)` of the images' dtype."""
        images = batch[self.column]
        chosen = draws.uniform(f"random_flip.{self.axis}") < self.probability
        mirrored = images.flip(-1 if self.axis == "horizontal" else -2)
        return {**batch, self.column: torch.where(chosen[:, None, None, None], mirrored, images)}


class RandomCrop(nn.Module):
    """Cut a square of `size` pixels at a random place of the image with a border of zeros around it.

    Args:
        size: height and width of the result, in pixels; at most those of the image.
        padding: width of the border, in pixels.
        column: which column of the batch.
    """

    def __init__(self, size: int, padding: int = 0, column: str = "inputs") -> None:
        super().__init__()
        self.size, self.padding, self.column = size, padding, column

    def forward(self, batch: Batch, draws: Draws) -> Batch:
        """`(B, C, H, W) -> (B, C, S, S)` float32.

        Raises:
            UserError: the image is smaller than the crop.
        """
        images = batch[self.column].to(torch.float32)
        height, width = images.shape[-2:]
        if min(height, width) < self.size:
            raise UserError("the crop is larger than the image", received=f"size={self.size}", expected=f"at most {min(height, width)}")
        limit = self.padding + max(height, width) - self.size
        top = draws.integers("random_crop.top", -self.padding, self.padding + height - self.size + 1)
        left = draws.integers("random_crop.left", -self.padding, self.padding + width - self.size + 1)
        moved = shift(images, -torch.stack([top, left], dim=1), limit)
        return {**batch, self.column: moved[..., : self.size, : self.size].contiguous()}


class RandomResizedCrop(nn.Module):
    """Cut a random part of the image and resize it, bilinearly, to a square (Szegedy et al. 2015, section 6).

    The part's area is uniform in `area` of the image's, the logarithm of its width : height uniform in that of `ratio`, its place
    uniform. A side that is longer than the image is cut to it; torchvision draws again. Shrinking by more than two skips pixels.

    Args:
        size: height and width of the result, in pixels.
        area: least and greatest fraction of the image's area.
        ratio: least and greatest width : height.
        column: which column of the batch.
    """

    def __init__(self, size: int, area: Range = (0.08, 1.0), ratio: Range = (3 / 4, 4 / 3), column: str = "inputs") -> None:
        super().__init__()
        self.size, self.area, self.ratio, self.column = size, _positive_range("area", area), _positive_range("ratio", ratio), column

    def forward(self, batch: Batch, draws: Draws) -> Batch:
        """`(B, C, H, W) -> (B, C, S, S)` float32."""
        images = batch[self.column].to(torch.float32)
        room = torch.tensor([images.shape[-1], images.shape[-2]], dtype=torch.float32, device=images.device)  # x, y
        area = _between(draws.uniform("random_resized_crop.area"), *self.area) * room.prod()
        ratio = _between(draws.uniform("random_resized_crop.ratio"), math.log(self.ratio[0]), math.log(self.ratio[1])).exp()
        sides = torch.stack([(area * ratio).sqrt(), (area / ratio).sqrt()], dim=1).minimum(room)
        centres = (draws.uniform("random_resized_crop.place", 2) - 0.5) * (room - sides)
        return {**batch, self.column: warp(images, torch.diag_embed(sides / self.size), centres, (self.size, self.size), "border")}


class RandomAffine(nn.Module):
    """Turn, scale, shear and move an image about its centre, bilinearly, zeros coming in.

    Args:
        degrees: the angle is uniform in [-degrees, degrees], counter-clockwise.
        scale: least and greatest factor of the size, uniform.
        shear_degrees: the shear's angle, along the rows, is uniform in [-shear_degrees, shear_degrees].
        translation: the move on each axis is uniform in plus or minus this fraction of the side.
        column: which column of the batch.
    """

    def __init__(
        self, degrees: float = 0.0, scale: Range = (1.0, 1.0), shear_degrees: float = 0.0, translation: float = 0.0, column: str = "inputs"
    ) -> None:
        super().__init__()
        self.scale = _positive_range("scale", scale)
        self.degrees, self.shear_degrees, self.translation, self.column = degrees, shear_degrees, translation, column

    def forward(self, batch: Batch, draws: Draws) -> Batch:
        """`(B, C, H, W) -> (B, C, H, W)` float32."""
        images = batch[self.column].to(torch.float32)
        height, width = images.shape[-2:]
        angle, shear = (draws.uniform("random_affine.angles", 2) * 2 - 1).mul(math.pi / 180).unbind(1)
        scale = _between(draws.uniform("random_affine.scale"), *self.scale)
        moves = (draws.uniform("random_affine.move", 2) * 2 - 1) * self.translation
        moves = moves * torch.tensor([width, height], dtype=torch.float32, device=images.device)
        inverse = inverse_affine(angle * self.degrees, scale, shear * self.shear_degrees)
        offsets = -torch.stack([(inverse[:, i] * moves).sum(1) for i in range(2)], dim=1)
        return {**batch, self.column: warp(images, inverse, offsets, (height, width), "zeros")}


def inverse_affine(angles: Tensor, scales: Tensor, shears: Tensor) -> Tensor:
    """Return the inverse of `scale * rotation @ shear` in coordinates x right, y down: `1/s [[1, -tan h], [0, 1]] R^T`.

    Angles in radians, `(B,)` each -> `(B, 2, 2)`.
    """
    cos, sin, tan = angles.cos(), angles.sin(), shears.tan()
    return torch.stack([cos - tan * sin, -sin - tan * cos, sin, cos], dim=1).reshape(-1, 2, 2) / scales[:, None, None]


def warp(
    images: Tensor,
    linear: Tensor,
    offsets: Tensor,
    size: tuple[int, int],
    padding: Literal["zeros", "border"],
    mode: Literal["bilinear", "nearest"] = "bilinear",
) -> Tensor:
    """Sample: the output at p takes the input at `linear @ p + offset`, both (x, y) in pixels from their image's centre.

    Args:
        images: `(B, C, H, W)` float.
        linear: `(B, 2, 2)`.
        offsets: `(B, 2)`, in pixels.
        size: (height, width) of the output.
        padding: what lies outside the input.
        mode: between pixels; `nearest` for what must not be mixed, such as class numbers.

    Returns:
        `(B, C, *size)`.
    """
    y, x = (torch.arange(side, dtype=torch.float32, device=images.device) - (side - 1) / 2 for side in size)
    # Products and sums, not a matrix product: those may be ordered otherwise in a larger batch, and a sample must not depend on its batch.
    axes = [linear[:, i, 0, None, None] * x + linear[:, i, 1, None, None] * y[:, None] + offsets[:, i, None, None] for i in range(2)]
    grid = torch.stack([2 * axis / side for axis, side in zip(axes, (images.shape[-1], images.shape[-2]), strict=True)], dim=-1)
    return F.grid_sample(images, grid, mode=mode, padding_mode=padding, align_corners=False)


class Cutout(nn.Module):
    """Blank a square whose centre is uniform over the image; what falls outside is lost (DeVries and Taylor 2017).

    Args:
        size: side of the square, in pixels.
        fill: its value.
        column: which column of the batch.
    """

    def __init__(self, size: int, fill: float = 0.0, column: str = "inputs") -> None:
        super().__init__()
        self.size, self.fill, self.column = size, fill, column

    def forward(self, batch: Batch, draws: Draws) -> Batch:
        """`(B, C, H, W) -> (B, C, H, W)` float32."""
        images = batch[self.column].to(torch.float32)
        corners = [draws.integers(f"cutout.{axis}", 0, images.shape[axis]) - self.size // 2 for axis in (-2, -1)]
        size = torch.full_like(corners[0], self.size)
        return {**batch, self.column: erase(images, corners[0], corners[1], size, size, self.fill)}


class RandomErasing(nn.Module):
    """Blank a rectangle that lies inside the image, with some probability (Zhong et al. 2017).

    Its area is uniform in `area` of the image's, its height : width uniform in `ratio`, its place uniform over whole pixels. A side that
    is longer than the image is cut to it; the paper draws again. The paper fills with random values, here it is one value.

    Args:
        probability: of each image.
        area: least and greatest fraction of the image's area.
        ratio: least and greatest height : width.
        fill: the rectangle's value.
        column: which column of the batch.
    """

    def __init__(
        self, probability: float = 0.5, area: Range = (0.02, 0.4), ratio: Range = (0.3, 1 / 0.3), fill: float = 0.0, column: str = "inputs"
    ) -> None:
        super().__init__()
        self.probability, self.area, self.ratio = _probability(probability), _positive_range("area", area), _positive_range("ratio", ratio)
        self.fill, self.column = fill, column

    def forward(self, batch: Batch, draws: Draws) -> Batch:
        """`(B, C, H, W) -> (B, C, H, W)` float32."""
        images = batch[self.column].to(torch.float32)
        height, width = images.shape[-2:]
        area = _between(draws.uniform("random_erasing.area"), *self.area) * (height * width)
        ratio = _between(draws.uniform("random_erasing.ratio"), *self.ratio)
        tall, wide = (area * ratio).sqrt().round().clamp(max=height), (area / ratio).sqrt().round().clamp(max=width)
        place = draws.uniform("random_erasing.place", 2)
        top, left = (place[:, 0] * (height - tall + 1)).floor(), (place[:, 1] * (width - wide + 1)).floor()
        chosen = draws.uniform("random_erasing.chosen") < self.probability
        return {**batch, self.column: erase(images, top, left, tall * chosen, wide, self.fill)}


def erase(images: Tensor, top: Tensor, left: Tensor, height: Tensor, width: Tensor, fill: float) -> Tensor:
    """Fill a rectangle of each image; `(B, C, H, W)` and four times `(B,)`, in pixels -> `(B, C, H, W)`."""
    rows, columns = (torch.arange(side, device=images.device) for side in images.shape[-2:])
    high = (rows >= top[:, None]) & (rows < (top + height)[:, None])
    across = (columns >= left[:, None]) & (columns < (left + width)[:, None])
    return images.masked_fill(high[:, None, :, None] & across[:, None, None, :], fill)


def _between(fraction: Tensor, low: float, high: float) -> Tensor:
    return low + fraction * (high - low)


def _probability(value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError(f"probability must lie in [0, 1], received {value}")
    return value


def _positive_range(name: str, value: Range) -> tuple[float, float]:
    low, high = value
    if not 0 < low <= high:
        raise ValueError(f"{name} must be two positive numbers in ascending order, received {value}")
    return low, high
