"""Targets that move with their image: what lies under a point, inside a box or beneath a mask must stay there."""

from __future__ import annotations

import pytest
import torch

from components.data.augment import RandomAffine, RandomFlip
from components.data.augment_geometry import MoveTogether
from components.data.draws import Draws
from components.errors import UserError

ALL = {"inputs": "image", "masks": "mask", "boxes": "boxes", "points": "keypoints"}
STRONG = {"flip": 0.5, "degrees": 25.0, "scale": (0.8, 1.3), "translation": 0.1}


def draws(count: int, first: int = 0) -> Draws:
    return Draws(3, 0, torch.arange(first, first + count))


def scene(count: int, height: int = 40, width: int = 56, seed: int = 0) -> dict[str, torch.Tensor]:
    """A rectangle of brightness 1 and class 2 a sample, its box, the centres of its corner pixels and a second, far box in odd rows."""
    rng = torch.Generator().manual_seed(seed)
    images, masks = torch.zeros(count, 1, height, width), torch.zeros(count, height, width, dtype=torch.int64)
    boxes, lengths, points = [], [], []
    for b in range(count):
        x1, y1 = (int(torch.randint(12, side - 22, (), generator=rng)) for side in (width, height))
        x2, y2 = x1 + 8, y1 + 6
        images[b, :, y1:y2, x1:x2], masks[b, y1:y2, x1:x2] = 1.0, 2
        boxes += [[x1, y1, x2, y2], [0, 0, 4, 4]][: 1 + b % 2]
        lengths.append(1 + b % 2)
        points.append([[x1, y1, 1], [x2 - 1, y1, 1], [x2 - 1, y2 - 1, 0]])
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    boxes, points = torch.tensor(boxes, dtype=torch.float32), torch.tensor(points, dtype=torch.float32)
    return {"inputs": images, "masks": masks, "boxes": boxes, "boxes.offsets": offsets, "points": points, "targets": torch.arange(count)}


def test_mirroring_twice_is_nothing_and_once_is_torch_s_flip():
    batch, always = scene(6), MoveTogether(ALL, flip=1.0, swap=[(0, 1)])
    batch["inputs"] = (batch["inputs"] * 255).to(torch.uint8)
    once = always(batch, draws(6))
    twice = always(once, draws(6))
    assert once["inputs"].dtype == torch.uint8 and torch.equal(once["inputs"], batch["inputs"].flip(-1))
    assert torch.equal(once["masks"], batch["masks"].flip(-1))
    assert torch.equal(once["boxes"][0], torch.tensor([56.0, 0, 56, 0]) + torch.tensor([-1.0, 1, -1, 1]) * batch["boxes"][0][[2, 1, 0, 3]])
    assert torch.equal(once["points"][:, 0], torch.tensor([55.0, 0, 0]) + torch.tensor([-1.0, 1, 1]) * batch["points"][:, 1])  # sides change
    assert all(torch.equal(twice[name], batch[name]) for name in batch)


def test_with_nothing_to_do_all_stays():
    batch = scene(4)
    assert all(torch.equal(value, batch[name]) for name, value in MoveTogether(ALL)(batch, draws(4)).items())


@pytest.mark.parametrize("size", [None, (32, 48), (64, 64)])
def test_a_pixel_marked_under_a_keypoint_stays_under_it(size):
    batch, index = scene(40), torch.arange(40)
    x, y = batch["points"][:, 0, :2].long().unbind(1)
    batch["inputs"] = torch.zeros(40, 1, 40, 56)
    batch["inputs"][index, 0, y, x] = 1.0
    moved = MoveTogether(ALL, **STRONG, size=size)(batch, draws(40))
    image, point = moved["inputs"][:, 0], moved["points"][:, 0]
    rows, columns = (torch.arange(side, dtype=torch.float32) for side in image.shape[1:])
    inside = point[:, 2] > 0
    mass = image.sum((1, 2))
    centre = torch.stack([(image.sum(1) * columns).sum(1) / mass, (image.sum(2) * rows).sum(1) / mass], dim=1)
    deep = inside & ((point[:, :2] > 2) & (point[:, :2] < torch.tensor([len(columns) - 3.0, len(rows) - 3.0]))).all(1)
    assert deep.sum() > 20
    # the bilinear picture of one pixel is a lopsided tent; its centre of mass is off by less than half a pixel
    assert (centre - point[:, :2])[deep].abs().max() < 0.5
    assert (moved["points"][:, 2, 2] == 0).all()  # what was invisible stays so


def test_a_mask_is_the_image_where_the_image_is_the_mask():
    batch = scene(30)
    moved = MoveTogether(ALL, **STRONG)(batch, draws(30))
    sharp = (moved["inputs"][:, 0] > 0.999) | (moved["inputs"][:, 0] < 0.001)  # where no two values were mixed
    assert torch.equal((moved["masks"] == 2)[sharp], (moved["inputs"][:, 0] > 0.5)[sharp])
    assert sharp.float().mean() > 0.9 and moved["masks"].dtype == torch.int64 and set(moved["masks"].unique().tolist()) == {0, 2}


def test_boxes_enclose_the_moved_blob_and_no_more_than_its_turned_corners():
    batch = scene(60)
    moved = MoveTogether(ALL, **{**STRONG, "degrees": 0.0})(batch, draws(60))
    first = moved["boxes"][moved["boxes.offsets"][:-1]]
    for box, mask in zip(first, moved["masks"], strict=True):
        y, x = (mask == 2).nonzero().T
        found = torch.tensor([x.min(), y.min(), x.max() + 1, y.max() + 1])
        assert (box - found).abs().max() <= 0.51  # the nearest pixel: half of one at each edge
    turned = MoveTogether(ALL, **STRONG)(batch, draws(60))
    for box, mask in zip(turned["boxes"][batch["boxes.offsets"][:-1]], turned["masks"], strict=True):
        y, x = (mask == 2).nonzero().T
        assert box[0] < x.min() + 1 and box[1] < y.min() + 1 and box[2] > x.max() and box[3] > y.max()


def test_a_box_that_left_the_image_has_no_area_and_the_row_keeps_its_length():
    batch = {"inputs": torch.zeros(1, 1, 20, 20), "boxes": torch.tensor([[0.0, 0, 4, 4], [2, 8, 8, 12], [9, 9, 12, 12]])}
    batch["boxes.offsets"] = torch.tensor([0, 3])
    window = MoveTogether({"inputs": "image", "boxes": "boxes"}, size=(10, 10), least_visible=0.5)  # columns and rows 5 to 14
    expected = torch.tensor([[0.0, 0, 0, 0], [0, 3, 3, 7], [4, 4, 7, 7]])
    moved = window(batch, draws(1))
    assert torch.equal(moved["boxes"], expected) and torch.equal(moved["boxes.offsets"], batch["boxes.offsets"])
    padded = window({"inputs": batch["inputs"], "boxes": batch["boxes"][None]}, draws(1))
    assert torch.equal(padded["boxes"], expected[None])


def test_what_comes_in_is_the_fill():
    batch = {"inputs": torch.ones(1, 3, 8, 8), "masks": torch.ones(1, 8, 8, dtype=torch.uint8)}
    moved = MoveTogether({"inputs": "image", "masks": "mask"}, size=(10, 8), fill={"masks": 11, "inputs": 7.0})(batch, draws(1))
    assert moved["masks"].dtype == torch.uint8 and moved["masks"][0, 0].unique().tolist() == [11]
    assert torch.equal(moved["inputs"][0, :, 0], torch.full((3, 8), 7.0)) and torch.equal(moved["masks"][0, 1:9], batch["masks"][0])


def test_the_map_is_that_of_the_transforms_of_images_alone(monkeypatch):
    batch = {"inputs": torch.rand(8, 3, 12, 16, generator=torch.Generator().manual_seed(1))}
    plain = Draws.uniform
    monkeypatch.setattr(Draws, "uniform", lambda self, name, *shape: _of(plain, self, name, *shape))
    mine = MoveTogether({"inputs": "image"}, degrees=20.0, scale=(0.8, 1.2), translation=0.2)(batch, draws(8))["inputs"]
    torch.testing.assert_close(mine, RandomAffine(20.0, (0.8, 1.2), 0.0, 0.2)(batch, draws(8))["inputs"], rtol=0, atol=1e-4)
    assert torch.equal(MoveTogether({"inputs": "image"}, flip=0.5)(batch, draws(8))["inputs"], RandomFlip()(batch, draws(8))["inputs"])


def _of(plain, self, name, *shape):
    """Hand MoveTogether the numbers that the image transforms draw."""
    if name == "move_together.angle":
        return plain(self, "random_affine.angles", 2)[:, 0]
    names = {"scale": "random_affine.scale", "move": "random_affine.move", "flip": "random_flip.horizontal"}
    return plain(self, names.get(name.removeprefix("move_together."), name), *shape)


def test_a_sample_moves_alike_in_any_batch_and_otherwise_in_another_epoch():
    batch, transform = scene(9), MoveTogether(ALL, **STRONG)
    kept = {name: value.clone() for name, value in batch.items()}
    whole = transform(batch, draws(9))
    cut = int(batch["boxes.offsets"][4])
    tail = {name: value[4:] for name, value in batch.items() if not name.startswith("boxes")}
    tail |= {"boxes": batch["boxes"][cut:], "boxes.offsets": batch["boxes.offsets"][4:] - cut}
    part = transform(tail, draws(5, 4))
    assert all(torch.equal(part[name], whole[name][4:]) for name in ("inputs", "masks", "points")) and torch.equal(
        part["boxes"], whole["boxes"][cut:]
    )
    assert all(torch.equal(batch[name], kept[name]) for name in kept) and torch.equal(whole["targets"], torch.arange(9))
    assert not torch.equal(transform(batch, Draws(3, 1, torch.arange(9)))["inputs"], whole["inputs"])


def test_what_cannot_move_together_is_refused():
    with pytest.raises(UserError, match="differ in size"):
        MoveTogether({"inputs": "image", "masks": "mask"})({"inputs": torch.zeros(1, 1, 4, 4), "masks": torch.zeros(1, 4, 5)}, draws(1))
    for options in ({"columns": {"boxes": "boxes"}}, {"columns": {"inputs": "picture"}}, {"columns": ALL, "fill": {"boxes": 1}}):
        with pytest.raises(ValueError, match="columns"):
            MoveTogether(**options)
