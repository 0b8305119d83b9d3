"""YOLO's loss: a value by hand, its gradient, and what must not count."""

from __future__ import annotations

import math

import pytest
import torch

from components.decoding.detections import Selection
from components.decoding.yolo import YoloCodec
from components.losses.yolo import YoloLoss

SIZE = (32, 32)  # 2 x 2 cells of 16, one anchor
OFFSETS, LABELS = torch.tensor([0, 1, 1]), torch.tensor([1])
BOXES = torch.tensor([[4.0, 4.0, 12.0, 12.0]])  # in the middle of cell 0, of the anchor's shape


@pytest.fixture
def codec():
    return YoloCodec([[8.0, 8.0]], 16, Selection())


def terms(codec, places, boxes=BOXES, offsets=OFFSETS, labels=LABELS, **options):
    return YoloLoss(**options)(places, codec.boxes(places, SIZE), codec.encode(boxes, offsets, labels, SIZE), SIZE)


def test_a_value_by_hand(codec):
    """All outputs 0: the box is right, the classes are even, every score is 1/2. The second image has no object."""
    found = terms(codec, torch.zeros(2, 4, 7), box_weight=5.0, background_weight=0.5)
    assert found["box"].tolist() == [0.0, 0.0]
    assert found["class"].tolist() == pytest.approx([math.log(2), 0.0])
    assert found["objectness"].tolist() == pytest.approx([math.log(2) * (1 + 3 * 0.5), math.log(2) * 4 * 0.5])


def test_a_box_that_is_off(codec):
    """t_x = ln 3 gives 3/4, so 1/4 off; t_w = ln 2: 16 wide. Overlap: from x 4 to 20 against 4 to 12, 8 x 8 of 16 x 8, one half."""
    places = torch.zeros(2, 4, 7)
    places[0, 0, 0], places[0, 0, 2], places[0, 0, 4] = math.log(3), math.log(2), 2.0
    found = terms(codec, places, box_weight=1.0, background_weight=0.0)
    assert found["box"][0].item() == pytest.approx((2 - 64 / 1024) * (1 / 16 + math.log(2) ** 2))
    assert found["objectness"][0].item() == pytest.approx(math.log(1 + math.exp(2)) - 2 * 0.5)


def test_a_place_that_found_another_places_object_is_not_background(codec):
    """The object's centre is a hair right of the border; the left cell's box fits it as well, at t_x far up."""
    boxes = torch.tensor([[12.5, 4.0, 20.5, 12.0]])
    places = torch.zeros(2, 4, 7)
    places[0, 0, 0] = 12.0
    kept = terms(codec, places, boxes, ignored_overlap=0.6, background_weight=1.0)["objectness"][0]
    counted = terms(codec, places, boxes, ignored_overlap=0.99, background_weight=1.0)["objectness"][0]
    assert (counted - kept).item() == pytest.approx(math.log(2))


def test_what_is_left_out_changes_nothing(codec):
    generator = torch.Generator().manual_seed(0)
    places = torch.randn(2, 4, 7, generator=generator)
    more = torch.cat([BOXES, BOXES + 1, torch.zeros(1, 4)])
    found = terms(codec, places, more, torch.tensor([0, 2, 3]), torch.tensor([1, 0, 0]), ignored_overlap=1.0)
    for name, value in terms(codec, places, ignored_overlap=1.0).items():
        assert torch.allclose(found[name], value), name


def test_the_gradient(codec):
    generator = torch.Generator().manual_seed(1)
    places = torch.randn(2, 4, 7, generator=generator, dtype=torch.float64, requires_grad=True)
    boxes = codec.boxes(places, SIZE).detach()  # the overlap is a target, so it must not move with the outputs
    targets = codec.encode(BOXES, OFFSETS, LABELS, SIZE)
    loss = YoloLoss()
    assert torch.autograd.gradcheck(lambda p: torch.stack(list(loss(p, boxes, targets, SIZE).values())), places)


def test_no_object_at_all(codec):
    found = terms(codec, torch.zeros(2, 4, 7), torch.zeros(0, 4), torch.tensor([0, 0, 0]), torch.zeros(0, dtype=torch.long))
    assert found["box"].tolist() == found["class"].tolist() == [0.0, 0.0] and (found["objectness"] > 0).all()
