"""The grid of YOLO's first version: one object a cell (notes 003 D7, 004 M42; Redmon et al. 2016, "You only look once", section 2).

Errata: the number of boxes is `S S B`, not "B = S S" (003 line 1437), and VOC's 30 channels are `5 x 2 + 20`. Width and height are fractions of the
**image**, as in the paper and 004 M42; the toy of 003 D7 divides them by the cell, where they exceed 1.

Legend: B images, S cells a side, R boxes a cell, K classes, V objects of the batch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from components.decoding.boxes import areas, centre_form, corner_form, owners
from components.decoding.detections import Detections, Selection, detect


class YoloV1Codec:
    """Between boxes in pixels and `(B, S, S, 5 R + K)`: R times (x, y in the cell, w, h of the image, confidence), then the classes.

    Args:
        cells: S.
        boxes: R.
        num_classes: K.
        selection: which of the boxes are detections.
    """

    def __init__(self, cells: int, boxes: int, num_classes: int, selection: Selection) -> None:
        self.cells, self.repeats, self.num_classes, self.selection = cells, boxes, num_classes, selection

    def encode(self, boxes: Tensor, offsets: Tensor, labels: Tensor, size: tuple[int, int]) -> Tensor:
        """Write each object into the cell of its centre, into all R boxes; of two in one cell the first stays.

        Args:
            boxes: `(V, 4)` pixels, all images' end to end; those without area are left out.
            offsets: `(B + 1,)` int64.
            labels: `(V,)` int64.
            size: height and width of the images.

        Returns:
            `(B, S, S, 5 R + K)` float32, zeros where there is no object.
        """
        image = owners(offsets, len(boxes))
        whole = boxes.new_tensor([size[1], size[0]] * 2, dtype=torch.float32)
        relative = centre_form(boxes / whole)
        scaled = relative[:, :2] * self.cells
        cell = scaled.floor().clamp(0, self.cells - 1)
        one = torch.cat([scaled - cell, relative[:, 2:], torch.ones_like(scaled[:, :1])], dim=1).repeat(1, self.repeats)
        rows = torch.cat([one, torch.nn.functional.one_hot(labels, self.num_classes)], dim=1)
        grid = rows.new_zeros(len(offsets) - 1, self.cells, self.cells, rows.shape[1])
        x, y = cell.long().unbind(1)
        for v in reversed(torch.nonzero(areas(boxes) > 0).flatten().tolist()):  # the first is written last
            grid[image[v], y[v], x[v]] = rows[v]
        return grid

    def decode(self, grid: Tensor, size: tuple[int, int]) -> Detections:
        """Find the objects of a grid `(B, S, S, 5 R + K)`; a box's score is its confidence times the cell's likeliest class."""
        boxes, classes = grid[..., : 5 * self.repeats].reshape(*grid.shape[:-1], self.repeats, 5), grid[..., 5 * self.repeats :]
        number = torch.arange(self.cells, device=grid.device)
        corner = torch.stack(torch.meshgrid(number, number, indexing="xy"), dim=-1)[:, :, None]  # (S, S, 1, 2): x, y
        whole = grid.new_tensor([size[1], size[0]] * 2)
        found = corner_form(torch.cat([(boxes[..., :2] + corner) / self.cells, boxes[..., 2:4]], dim=-1)) * whole
        likeliest = classes.max(dim=-1)
        scores = boxes[..., 4] * likeliest.values[..., None]
        labels = likeliest.indices[..., None].expand_as(scores)
        return detect(found.flatten(1, 3).clamp(min=0).minimum(whole), scores.flatten(1), labels.flatten(1), self.selection)
