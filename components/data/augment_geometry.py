"""Geometry that moves an image together with what is drawn on it: masks, boxes and keypoints (notes 002 section 10, 003 lines 949 ff.).

Coordinates are in pixels, x right and y down, of two kinds, each the usual one of its targets:

- a **box** `(x1, y1, x2, y2)` holds *edges*: the image spans [0, W] x [0, H], its first pixel [0, 1];
- a **keypoint** `(x, y)` holds *pixel centres*: the first pixel's centre is (0, 0), the last one's (W - 1, H - 1).

Like the transforms of augment.py this stands before standardisation, and the given batch is left as it was.

Legend: B samples, C channels, H height, W width, V boxes of the batch end to end, L boxes of a padded row, K keypoints.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from components.data.augment import Range, inverse_affine, warp
from components.data.draws import Draws
from components.data.transforms import Batch
from components.errors import UserError

KINDS = ("image", "mask", "boxes", "keypoints")


@dataclass(frozen=True)
class Motion:
    """One map a sample: mirror left and right, then turn and scale about the image's centre, then move; out comes a window.

    With coordinates from the centre of their image, the pixel at p comes to `inverse(inverse_linear) @ mirror(p) + move`.
    """

    flipped: Tensor  # (B,) bool
    inverse_linear: Tensor  # (B, 2, 2), of a rotation times a scale
    moves: Tensor  # (B, 2) x, y in pixels of the result
    before: tuple[int, int]  # height, width
    after: tuple[int, int]

    def points(self, points: Tensor, edges: bool, owners: Tensor | None = None) -> Tensor:
        """Move points, `(N, ..., 2)` x, y -> the same shape, float32.

        Args:
            edges: coordinates of edges; else of pixel centres.
            owners: `(N,)`, which sample each first-axis entry belongs to; None: its own.
        """
        flipped, inverse, moves = (v if owners is None else v[owners] for v in (self.flipped, self.inverse_linear, self.moves))
        old, new = ([(side - (not edges)) / 2 for side in reversed(size)] for size in (self.before, self.after))
        shape = (-1, *[1] * (points.ndim - 2))
        x, y = points[..., 0].float() - old[0], points[..., 1].float() - old[1]
        x = torch.where(flipped.reshape(shape), -x, x)
        # The inverse of R^T / s is s R = (R^T / s)^T s^2, and 1 / s^2 is its determinant.
        linear = inverse.mT / (inverse[:, 0, 0] * inverse[:, 1, 1] - inverse[:, 0, 1] * inverse[:, 1, 0])[:, None, None]
        # Products and sums, as in warp: a sample must not depend on its batch.
        moved = [linear[:, i, 0].reshape(shape) * x + linear[:, i, 1].reshape(shape) * y + moves[:, i].reshape(shape) + new[i] for i in range(2)]
        return torch.stack(moved, dim=-1)

    def pixels(self, values: Tensor, is_mask: bool, fill: float) -> Tensor:
        """Move images bilinearly, `(B, C, H, W) -> (B, C, *after)` float32; masks take the nearest pixel."""
        mirrored = torch.where(self.flipped[:, None, None, None], values.flip(-1), values)
        offsets = -torch.stack([(self.inverse_linear[:, i] * self.moves).sum(1) for i in range(2)], dim=1)
        # What comes in from outside is zero, so the fill is made the zero.
        return warp(mirrored.float() - fill, self.inverse_linear, offsets, self.after, "zeros", "nearest" if is_mask else "bilinear") + fill


class MoveTogether(nn.Module):
    """Mirror, turn, scale and move each image and all that belongs to it by one and the same draw.

    | kind | column | what happens |
    |---|---|---|
    | `image` | `(B, C, H, W)` | bilinear, float32; dtype kept where only mirroring is asked for |
    | `mask` | `(B, H, W)` or `(B, C, H, W)` | nearest pixel, dtype kept |
    | `boxes` | `(V, 4)` with `<column>.offsets`, or `(B, L, 4)` | float32; the box around the moved corners, cut to the image |
    | `keypoints` | `(B, K, 2)` x, y or `(B, K, 3)` x, y, visible | float32; a visible one that left the image becomes 0, invisible |

    A box of which less than `least_visible` remains is set to `0, 0, 0, 0`: a row keeps its number of boxes, so that labels and
    offsets stay right, and **whoever reads boxes leaves out those without area**. The box around a turned box is larger than the object.

    Args:
        columns: column -> kind. At least one image or mask; all of them have one size.
        flip: probability of mirroring left and right.
        degrees: the angle is uniform in [-degrees, degrees], counter-clockwise.
        scale: least and greatest factor of the size, uniform. Shrinking by more than two skips pixels.
        translation: the move on each axis is uniform in plus or minus this fraction of the result's side.
        size: height and width of the result, a window about the centre (not a resizing: that is `scale`); None: the image's.
        fill: image or mask column -> the value that comes in from outside, such as the void class; 0 where none is given.
        swap: pairs of keypoint numbers that change places when mirrored, such as left and right wrist.
        least_visible: fraction of a moved box's area, in (0, 1].
    """

    def __init__(
        self,
        columns: Mapping[str, str],
        flip: float = 0.0,
        degrees: float = 0.0,
        scale: Range = (1.0, 1.0),
        translation: float = 0.0,
        size: Sequence[int] | None = None,
        fill: Mapping[str, float] | None = None,
        swap: Sequence[Sequence[int]] = (),
        least_visible: float = 0.25,
    ) -> None:
        super().__init__()
        if unknown := sorted(set(columns.values()) - set(KINDS)):
            raise ValueError(f"columns are of the kinds {', '.join(KINDS)}, received {', '.join(unknown)}")
        self.columns, self.fill, self.swap = dict(columns), dict(fill or {}), [(int(a), int(b)) for a, b in swap]
        self._dense = [name for name, kind in self.columns.items() if kind in ("image", "mask")]
        if not self._dense or not set(self.fill) <= set(self._dense):
            raise ValueError(f"columns needs an image or a mask, and fill names only such: received columns={self.columns}, fill={self.fill}")
        low, high = scale
        if not 0 < low <= high or not 0 <= flip <= 1 or not 0 < least_visible <= 1:
            raise ValueError(f"scale ascends from above 0, flip is a probability, least_visible in (0, 1]: {scale}, {flip}, {least_visible}")
        if size is not None and len(size) != 2:
            raise ValueError(f"size is a height and a width, received {size}")
        self.flip, self.degrees, self.scale, self.translation = flip, degrees, (low, high), translation
        self.size, self.least_visible = None if size is None else (int(size[0]), int(size[1])), least_visible

    def forward(self, batch: Batch, draws: Draws) -> Batch:
        """Move the named columns, `(B, C, H, W) -> (B, C, H, W)` of images; the rest of the batch as it is.

        Raises:
            UserError: images and masks differ in size.
        """
        motion = self._draw(batch, draws)
        return {**batch, **{name: self._moved(name, kind, batch, motion) for name, kind in self.columns.items()}}

    def _draw(self, batch: Batch, draws: Draws) -> Motion:
        sizes = {name: (int(batch[name].shape[-2]), int(batch[name].shape[-1])) for name in self._dense}
        before = sizes[self._dense[0]]
        if set(sizes.values()) != {before}:
            raise UserError("columns that are to move together differ in size", received=sizes, expected="one height and width")
        after = self.size or before
        low, high = self.scale
        angle = (draws.uniform("move_together.angle") * 2 - 1) * (self.degrees * math.pi / 180)
        scale = low + draws.uniform("move_together.scale") * (high - low)
        side = torch.tensor([after[1], after[0]], dtype=torch.float32, device=angle.device)
        moves = (draws.uniform("move_together.move", 2) * 2 - 1) * self.translation * side
        flipped = draws.uniform("move_together.flip") < self.flip
        return Motion(flipped, inverse_affine(angle, scale, torch.zeros_like(angle)), moves, before, after)

    def _moved(self, name: str, kind: str, batch: Batch, motion: Motion) -> Tensor:
        values = batch[name]
        if kind == "boxes":
            return _boxes(values, batch.get(f"{name}.offsets"), motion, self.least_visible)
        if kind == "keypoints":
            return _keypoints(values, motion, self.swap)
        if not self._warps(motion):
            return torch.where(motion.flipped.reshape(-1, *[1] * (values.ndim - 1)), values.flip(-1), values)  # to the bit, in its dtype
        layers = values.reshape(len(values), -1, *motion.before)
        moved = motion.pixels(layers, kind == "mask", self.fill.get(name, 0.0))
        return moved.to(values.dtype).reshape(*values.shape[:-2], *motion.after) if kind == "mask" else moved

    def _warps(self, motion: Motion) -> bool:
        """Whether anything but mirroring can happen: from the options, so that a batch has one dtype whatever was drawn."""
        return bool(self.degrees or self.translation) or self.scale != (1.0, 1.0) or motion.before != motion.after


def _boxes(boxes: Tensor, offsets: Tensor | None, motion: Motion, least_visible: float) -> Tensor:
    owners = None
    if offsets is not None:
        owners = torch.repeat_interleave(torch.arange(len(offsets) - 1, device=boxes.device), offsets.diff(), output_size=len(boxes))
    corners = torch.stack([boxes[..., [0, 1]], boxes[..., [2, 1]], boxes[..., [2, 3]], boxes[..., [0, 3]]], dim=-2)
    moved = motion.points(corners, edges=True, owners=owners)
    whole = torch.cat([moved.amin(dim=-2), moved.amax(dim=-2)], dim=-1)
    height, width = motion.after
    cut = whole.clamp(min=0).minimum(whole.new_tensor([width, height, width, height]))
    kept = (_area(cut) >= least_visible * _area(whole)) & (_area(cut) > 0)
    return cut * kept[..., None]


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def _keypoints(keypoints: Tensor, motion: Motion, swap: Sequence[tuple[int, int]]) -> Tensor:
    order = list(range(keypoints.shape[1]))
    for a, b in swap:
        order[a], order[b] = order[b], order[a]
    named = torch.where(motion.flipped[:, None, None], keypoints[:, order], keypoints)
    moved = motion.points(named[..., :2], edges=False)
    if keypoints.shape[-1] == 2:
        return moved
    height, width = motion.after
    inside = (moved > -0.5).all(-1) & (moved[..., 0] < width - 0.5) & (moved[..., 1] < height - 0.5)
    return torch.cat([moved, (named[..., 2].float() * inside)[..., None]], dim=-1)
