"""The codec of YOLOv2: boxes to cells and anchors of a grid, and back (notes 003 D8, lines 1456-1496; Redmon and Farhadi 2017, YOLO9000, section 2).

An object belongs to the cell that holds its centre and, there, to the anchor of the most similar shape. With the cell's corner `c`, an anchor of
`(p_w, p_h)` pixels and cells of s pixels, raw outputs t are

    x = s (c_x + sigmoid(t_x))    y likewise    w = p_w exp(t_w)    h = p_h exp(t_h)    score = sigmoid(t_o) max softmax(t_class)

Legend: B images, A anchors, K classes, G x F cells (rows x columns), N = A G F places, V objects of the batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from components.decoding.boxes import areas, centre_form, corner_form, overlaps, owners
from components.decoding.detections import Detections, Selection, detect
from components.errors import UserError

LARGEST_LOG = math.log(1000.0)  # of a side over its anchor's: a wild output must not become infinite


@dataclass(frozen=True)
class GridTargets:
    """What each object asks of the place that it belongs to.

    An object is left out, its `kept` False, where it has no area or an earlier object of the image took the same place.
    """

    kept: Tensor  # (V,) bool
    image: Tensor  # (V,) int64
    place: Tensor  # (V,) int64 in [0, N)
    offsets: Tensor  # (V, 2): sigmoid(t_x), sigmoid(t_y), in [0, 1]
    logs: Tensor  # (V, 2): t_w, t_h
    labels: Tensor  # (V,) int64
    boxes: Tensor  # (V, 4) pixels


class YoloCodec:
    """Between boxes in pixels and a grid's outputs `(B, A (5 + K), G, F)`; the channels of an anchor are t_x, t_y, t_w, t_h, t_o and K classes.

    Args:
        anchors: A widths and heights, pixels.
        stride: s.
        selection: which of the places are detections.

    Raises:
        ValueError: anchors are no pairs of positive numbers.
    """

    def __init__(self, anchors: Sequence[Sequence[float]], stride: int, selection: Selection) -> None:
        self.anchors = torch.tensor([list(pair) for pair in anchors], dtype=torch.float32)
        if self.anchors.ndim != 2 or self.anchors.shape[1] != 2 or not bool((self.anchors > 0).all()):
            raise ValueError(f"anchors must be pairs of positive pixels, received {anchors}")
        self.stride, self.selection = stride, selection

    def grid(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return G and F for images of a height and width; a cell that the image fills in part counts."""
        return -(-size[0] // self.stride), -(-size[1] // self.stride)

    def encode(self, boxes: Tensor, offsets: Tensor, labels: Tensor, size: tuple[int, int]) -> GridTargets:
        """Give each object its place.

        Args:
            boxes: `(V, 4)` pixels, all images' end to end.
            offsets: `(B + 1,)` int64, where each image's boxes start.
            labels: `(V,)` int64.
            size: height and width of the images.
        """
        rows, columns = self.grid(size)
        image, count = owners(offsets, len(boxes)), len(boxes)
        centred = centre_form(boxes.float())
        centres, sides = centred[:, :2], centred[:, 2:]
        cells = (centres / self.stride).floor().clamp(min=0).minimum(centres.new_tensor([columns - 1, rows - 1]))
        anchors = self.anchors.to(boxes.device)
        anchor = overlaps(_at_origin(sides), _at_origin(anchors)).argmax(dim=1)
        place = (anchor * rows + cells[:, 1].long()) * columns + cells[:, 0].long()
        valid = areas(boxes) > 0
        logs = torch.where(valid[:, None], sides, anchors[anchor]).div(anchors[anchor]).log()
        number = torch.arange(count, device=boxes.device)
        first = torch.full((len(offsets) - 1, len(anchors) * rows * columns), count, device=boxes.device)
        first.view(-1).scatter_reduce_(0, image * first.shape[1] + place, torch.where(valid, number, count), "amin")
        kept = valid & (first[image, place] == number)
        return GridTargets(kept, image, place, (centres / self.stride - cells).clamp(0, 1), logs, labels, boxes.float())

    def places(self, outputs: Tensor, size: tuple[int, int]) -> Tensor:
        """Put the places in a row, `(B, A (5 + K), G, F) -> (B, N, 5 + K)` float32.

        Raises:
            UserError: another number of cells or of channels than the anchors and the stride ask for.
        """
        anchors, expected = len(self.anchors), self.grid(size)
        if tuple(outputs.shape[2:]) != expected or outputs.shape[1] % anchors or outputs.shape[1] // anchors < 6:
            raise UserError(
                "the model's outputs are not the codec's grid",
                received=f"{outputs.shape[1]} channels, {outputs.shape[2]} x {outputs.shape[3]} cells",
                expected=f"{anchors} x (5 + classes) channels, {expected[0]} x {expected[1]} cells of {self.stride} pixels",
                mend="model.anchors is the number of task.anchors; the model halves as often as task.stride says",
            )
        split = outputs.float().reshape(outputs.shape[0], anchors, -1, *expected)  # (B, A, 5 + K, G, F)
        return split.permute(0, 1, 3, 4, 2).flatten(1, 3)

    def boxes(self, places: Tensor, size: tuple[int, int]) -> Tensor:
        """Return the boxes that raw outputs stand for, `(B, N, 5 + K) -> (B, N, 4)` pixels, not cut to the image."""
        rows, columns = self.grid(size)
        y, x = torch.meshgrid(torch.arange(rows, device=places.device), torch.arange(columns, device=places.device), indexing="ij")
        corners = torch.stack([x, y], dim=-1).reshape(1, rows * columns, 2).expand(len(self.anchors), -1, -1)
        anchors = self.anchors.to(places.device)[:, None].expand_as(corners)
        centres = (corners.reshape(-1, 2) + places[..., :2].sigmoid()) * self.stride
        return corner_form(torch.cat([centres, anchors.reshape(-1, 2) * places[..., 2:4].clamp(max=LARGEST_LOG).exp()], dim=-1))

    def decode(self, outputs: Tensor, size: tuple[int, int]) -> Detections:
        """Find the objects of outputs `(B, A (5 + K), G, F)`; boxes are cut to the image."""
        places = self.places(outputs, size)
        likeliest = places[..., 5:].softmax(dim=-1).max(dim=-1)
        scores = places[..., 4].sigmoid() * likeliest.values
        boxes = self.boxes(places, size).clamp(min=0).minimum(places.new_tensor([size[1], size[0]] * 2))
        return detect(boxes, scores, likeliest.indices, self.selection)


def _at_origin(sides: Tensor) -> Tensor:
    """(N, 2) -> (N, 4): boxes that share a corner overlap as those that share a centre do."""
    return torch.cat([torch.zeros_like(sides), sides], dim=1)
