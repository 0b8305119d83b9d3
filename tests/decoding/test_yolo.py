"""The codecs of YOLO: the notes' fixtures, and that what is encoded is what is decoded."""

from __future__ import annotations

import pytest
import torch

from components.decoding.boxes import areas
from components.decoding.detections import Selection, detect
from components.decoding.yolo import YoloCodec
from components.decoding.yolo_v1 import YoloV1Codec
from components.errors import UserError

ANCHORS = [[10.0, 10.0], [30.0, 20.0]]
SIZE = (48, 64)  # 3 x 4 cells of 16
BOXES = torch.tensor([[3.0, 5.0, 12.0, 16.0], [20.0, 10.0, 60.0, 30.0], [40.0, 33.0, 48.0, 47.0], [0.0, 0.0, 33.0, 17.0]])
OFFSETS, LABELS = torch.tensor([0, 3, 3, 4]), torch.tensor([2, 0, 1, 2])


@pytest.fixture
def codec() -> YoloCodec:
    return YoloCodec(ANCHORS, 16, Selection(least_score=0.1, most_detections=5))


def ideal(codec, targets, images, classes, size):
    """The outputs that the targets ask for."""
    rows, columns = codec.grid(size)
    places = torch.full((images, len(codec.anchors) * rows * columns, 5 + classes), -20.0)
    wanted = torch.cat([targets.offsets.logit(), targets.logs, torch.full((len(targets.kept), 1), 20.0)], dim=1)
    chosen = targets.image[targets.kept], targets.place[targets.kept]
    places[chosen] = torch.cat([wanted, 40.0 * torch.nn.functional.one_hot(targets.labels, classes)], dim=1)[targets.kept]
    return places.unflatten(1, (-1, rows, columns)).permute(0, 1, 4, 2, 3).flatten(1, 2)


def rows_of(found, image):
    kept = found.labels[image] >= 0
    return sorted(
        (int(label), *[round(v, 3) for v in box]) for box, label in zip(found.boxes[image][kept].tolist(), found.labels[image][kept], strict=True)
    )


def test_places_by_hand(codec):
    targets = codec.encode(BOXES, OFFSETS, LABELS, SIZE)
    assert targets.kept.all() and targets.image.tolist() == [0, 0, 0, 2]
    # centres (7.5, 10.5), (40, 20), (44, 40), (16.5, 8.5); cells (0, 0), (2, 1), (2, 2), (1, 0); 12 places an anchor
    assert targets.place.tolist() == [0, 12 + 4 + 2, 2 * 4 + 2, 12 + 1]
    assert torch.allclose(targets.offsets, torch.tensor([[7.5, 10.5], [8, 4], [12, 8], [0.5, 8.5]]) / 16)
    assert torch.allclose(targets.logs.exp(), torch.tensor([[0.9, 1.1], [40 / 30, 1.0], [0.8, 1.4], [33 / 30, 17 / 20]]))


def test_the_round_trip(codec):
    found = codec.decode(ideal(codec, codec.encode(BOXES, OFFSETS, LABELS, SIZE), 3, 3, SIZE), SIZE)
    assert found.boxes.shape == (3, 5, 4) and found.scores.shape == found.labels.shape == (3, 5)
    assert rows_of(found, 0) == [(0, 20.0, 10.0, 60.0, 30.0), (1, 40.0, 33.0, 48.0, 47.0), (2, 3.0, 5.0, 12.0, 16.0)]
    assert rows_of(found, 1) == [] and rows_of(found, 2) == [(2, 0.0, 0.0, 33.0, 17.0)]
    assert found.labels[1].tolist() == [-1] * 5 and not found.scores[1].any() and not found.boxes[1].any()


def test_the_round_trip_of_many_boxes():
    """One in a cell at most, sizes no multiple of the stride: back to float32's rounding."""
    generator = torch.Generator().manual_seed(3)
    codec, size = YoloCodec([[6.0, 9.0], [14.0, 11.0], [25.0, 30.0]], 16, Selection(most_overlap=1.0, most_detections=40)), (91, 75)
    rows, columns = codec.grid(size)
    assert (rows, columns) == (6, 5)
    cells = torch.cartesian_prod(torch.arange(columns), torch.arange(rows))
    centres = ((cells + torch.rand(30, 2, generator=generator) * 0.9 + 0.05) * 16).minimum(torch.tensor([74.0, 90.0]))
    sides = 2 + torch.rand(30, 2, generator=generator) * 20
    boxes = torch.cat([centres - sides / 2, centres + sides / 2], dim=1).clamp(min=0).minimum(torch.tensor([75.0, 91.0, 75.0, 91.0]))
    labels = torch.arange(30) % 4
    found = codec.decode(ideal(codec, codec.encode(boxes, torch.tensor([0, 30]), labels, size), 1, 4, size), size)
    order = (found.boxes[0, :30, None] - boxes).abs().sum(-1).argmin(1)
    assert sorted(order.tolist()) == list(range(30)) and (found.labels[0] >= 0).sum() == 30
    assert torch.allclose(found.boxes[0, :30], boxes[order], atol=1e-4) and torch.equal(found.labels[0, :30], labels[order])


def test_boxes_without_area_and_a_taken_place_are_left_out(codec):
    boxes = torch.tensor([[0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 9.0, 9.0], [2.0, 2.0, 10.0, 10.0], [1.0, 1.0, 9.0, 9.0]])
    targets = codec.encode(boxes, torch.tensor([0, 3, 4]), torch.zeros(4, dtype=torch.long), SIZE)
    assert targets.kept.tolist() == [False, True, False, True]
    assert targets.logs.isfinite().all()
    empty = codec.encode(torch.zeros(0, 4), torch.tensor([0, 0]), torch.zeros(0, dtype=torch.long), SIZE)
    assert empty.kept.shape == (0,) and empty.logs.shape == (0, 2)


def test_outputs_of_another_grid_are_refused(codec):
    with pytest.raises(UserError, match=r"4 x 4 cells(.|\n)*3 x 4 cells of 16 pixels"):
        codec.decode(torch.zeros(1, 16, 4, 4), SIZE)


def test_detections_are_the_best_of_each_class():
    boxes = torch.tensor([[[0.0, 0, 10, 10], [1, 0, 11, 10], [1, 0, 11, 10], [30, 0, 40, 10], [5, 5, 5, 9]]])
    found = detect(boxes, torch.tensor([[0.5, 0.9, 0.8, 0.05, 0.7]]), torch.tensor([[0, 0, 1, 0, 1]]), Selection(least_score=0.1, most_detections=3))
    assert found.labels.tolist() == [[0, 1, -1]] and torch.allclose(found.scores, torch.tensor([[0.9, 0.8, 0.0]]))
    assert (areas(found.boxes) > 0).tolist() == [[True, True, False]]


def test_the_first_version_on_voc_has_1470_numbers():
    """004 M42 and T35: 7 x 7 x 30. Of a 448 x 448 image the box (100, 50, 300, 250): centre (200, 150), cell (3, 2)."""
    codec = YoloV1Codec(cells=7, boxes=2, num_classes=20, selection=Selection())
    boxes, offsets, labels = torch.tensor([[100.0, 50.0, 300.0, 250.0]]), torch.tensor([0, 1]), torch.tensor([6])
    grid = codec.encode(boxes, offsets, labels, (448, 448))
    assert grid.shape == (1, 7, 7, 30) and grid.numel() == 1470
    one = [200 / 64 - 3, 150 / 64 - 2, 200 / 448, 200 / 448, 1.0]
    assert torch.allclose(grid[0, 2, 3, :10], torch.tensor(one * 2)) and grid[0, 2, 3, 10:].argmax() == 6
    assert grid.sum().item() == pytest.approx(2 * sum(one) + 1)
    found = codec.decode(grid, (448, 448))
    assert (found.labels >= 0).sum() == 1 and found.labels[0, 0] == 6 and torch.allclose(found.boxes[0, 0], boxes[0], atol=1e-4)


def test_the_toy_of_the_notes():
    """003 D7: 100 x 100, S = 3, C = 3, one box: eight numbers a cell. Of two objects in one cell the first stays."""
    codec = YoloV1Codec(cells=3, boxes=1, num_classes=3, selection=Selection())
    boxes = torch.tensor([[40.0, 40.0, 60.0, 80.0], [45.0, 45.0, 55.0, 60.0], [0.0, 0.0, 0.0, 0.0]])
    grid = codec.encode(boxes, torch.tensor([0, 3]), torch.tensor([1, 2, 0]), (100, 100))
    assert grid.shape == (1, 3, 3, 8) and (grid[..., 4] > 0).sum() == 1
    assert torch.allclose(grid[0, 1, 1], torch.tensor([0.5, 0.8, 0.2, 0.4, 1, 0, 1, 0]))
