"""Augmentation by geometry: pixels worked by hand, torch's and kornia's own functions, and what must change nothing."""

from __future__ import annotations

import math
from pathlib import Path

import kornia
import pytest
import torch
import torch.nn.functional as F

from components.data.augment import Cutout, RandomAffine, RandomCrop, RandomErasing, RandomFlip, RandomResizedCrop, erase, inverse_affine, warp
from components.data.augment_color import ColorJitter, GaussianNoise, PCAColor
from components.data.draws import Draws
from components.data.transforms import RandomShift
from components.errors import UserError
from components.spec.targets import build
from flows.compose import compose

ROOT = Path(__file__).parents[2]
COVARIANCE = [[0.09, 0.05, 0.03], [0.05, 0.07, 0.04], [0.03, 0.04, 0.08]]
EVERY = [
    RandomFlip(),
    RandomFlip("vertical"),
    RandomCrop(8, padding=2),
    RandomCrop(5),
    RandomResizedCrop(7),
    RandomAffine(30.0, (0.8, 1.2), 10.0, 0.2),
    Cutout(4),
    RandomErasing(),
    ColorJitter(0.4, 0.4, 0.4, 0.1),
    PCAColor(COVARIANCE),
    GaussianNoise(51.0),
]


def draws(count: int, first: int = 0) -> Draws:
    return Draws(0, 0, torch.arange(first, first + count))


def pictures(count: int, height: int = 10, width: int = 8, seed: int = 0) -> torch.Tensor:
    """`(count, 3, height, width)` uint8."""
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("transform", EVERY, ids=lambda t: type(t).__name__)
def test_a_sample_is_augmented_alike_in_any_batch_and_the_given_one_is_left_as_it_was(transform):
    images, kept = pictures(9), pictures(9)
    whole = transform({"inputs": images, "targets": torch.arange(9)}, draws(9))
    halves = [transform({"inputs": images[a:b]}, draws(b - a, a))["inputs"] for a, b in ((0, 4), (4, 9))]
    assert torch.equal(torch.cat(halves), whole["inputs"])
    assert torch.equal(images, kept) and torch.equal(whole["targets"], torch.arange(9))
    assert whole["inputs"].min() >= 0 and whole["inputs"].max() <= 255


@pytest.mark.parametrize("transform", EVERY, ids=lambda t: type(t).__name__)
def test_other_samples_and_epochs_are_augmented_otherwise(transform):
    batch = {"inputs": pictures(1).repeat(20, 1, 1, 1)}
    first = transform(batch, draws(20))["inputs"]
    assert not torch.equal(first, transform(batch, Draws(0, 1, torch.arange(20)))["inputs"])
    assert (first != first[:1]).flatten(1).any(1).sum() >= 5  # of 20; a flip leaves half of them alike


@pytest.mark.parametrize(
    "transform",
    [
        RandomFlip(probability=0.0),
        RandomCrop(8),
        RandomResizedCrop(8, (1.0, 1.0), (1.0, 1.0)),
        RandomAffine(),
        Cutout(0),
        RandomErasing(probability=0.0),
        ColorJitter(),
        PCAColor(COVARIANCE, std=0.0),
        GaussianNoise(0.0),
    ],
    ids=lambda t: type(t).__name__,
)
def test_with_nothing_to_do_the_images_stay(transform):
    images = pictures(5, 8, 8)
    torch.testing.assert_close(transform({"inputs": images}, draws(5))["inputs"].float(), images.float(), rtol=0, atol=1e-3)


@pytest.mark.parametrize(("axis", "dimension"), [("horizontal", 3), ("vertical", 2)])
def test_a_flip_is_torch_s_and_its_own_inverse(axis, dimension):
    always = RandomFlip(axis, probability=1.0)
    once = always({"inputs": pictures(4)}, draws(4))
    assert torch.equal(once["inputs"], pictures(4).flip(dimension)) and once["inputs"].dtype == torch.uint8
    assert torch.equal(always(once, draws(4))["inputs"], pictures(4))


def test_a_flip_comes_as_often_as_it_should():
    image = torch.tensor([[[[0.0, 1.0]]]]).repeat(4000, 1, 1, 1)
    flipped = RandomFlip(probability=0.3)({"inputs": image}, draws(4000))["inputs"][:, 0, 0, 0].sum()
    assert abs(flipped - 1200) < 4 * math.sqrt(4000 * 0.3 * 0.7)


@pytest.mark.parametrize("make", [lambda: RandomFlip("diagonal"), lambda: RandomFlip(probability=1.1), lambda: RandomErasing(probability=-0.1)])
def test_a_flip_or_probability_that_is_none_is_refused(make):
    with pytest.raises(ValueError, match=r"axis|probability"):
        make()


def test_a_crop_is_a_window_of_the_padded_image_and_every_window_comes():
    # 5 x 4 pixels, border 1: windows of 3 start at 5 - 3 + 2 + 1 = 5 rows and 4 columns.
    image = torch.arange(1.0, 21.0).reshape(1, 1, 5, 4)
    windows = F.unfold(F.pad(image, (1, 1, 1, 1)), 3)[0].T.reshape(20, 3, 3)
    found = RandomCrop(3, padding=1)({"inputs": image.repeat(1000, 1, 1, 1)}, draws(1000))["inputs"][:, 0]
    counts = [(found == window).flatten(1).all(1).sum() for window in windows]
    assert sum(counts) == 1000 and min(counts) > 20  # 50 expected each; over four standard deviations


def test_a_padded_crop_of_the_image_s_size_is_a_random_shift():
    image = torch.zeros(2000, 1, 5, 5)
    image[:, :, 2, 2] = 1.0
    crops, shifts = (t({"inputs": image}, draws(2000))["inputs"].flatten(1).argmax(1).unique() for t in (RandomCrop(5, padding=2), RandomShift(2)))
    assert torch.equal(crops, shifts)


def test_a_crop_larger_than_the_image_is_refused():
    with pytest.raises(UserError, match="larger than the image"):
        RandomCrop(9, padding=4)({"inputs": pictures(1)}, draws(1))


def test_warp_takes_pixels_from_where_it_is_told():
    """A window of whole pixels, kept and halved, is a slice and torch's own resizing of it."""
    images = pictures(2, 12, 10).float()
    window = images[:, :, 3:11, 2:8]  # 8 x 6; its centre (4.5, 6.5) is (0, 1) from the image's (4.5, 5.5)
    offsets = torch.tensor([[0.0, 1.0]]).repeat(2, 1)
    kept = warp(images, torch.eye(2).repeat(2, 1, 1), offsets, (8, 6), "zeros")
    torch.testing.assert_close(kept, window, rtol=0, atol=1e-3)
    halved = warp(images, 2 * torch.eye(2).repeat(2, 1, 1), offsets, (4, 3), "zeros")
    torch.testing.assert_close(halved, F.interpolate(window, scale_factor=0.5, mode="bilinear"), rtol=0, atol=1e-3)


@pytest.mark.parametrize("angle", [-70.0, 17.0, 90.0])
def test_a_rotation_is_kornia_s(angle):
    images = pictures(2, 9, 12).float()
    radians = torch.full((2,), math.radians(angle))
    found = warp(images, inverse_affine(radians, torch.ones(2), torch.zeros(2)), torch.zeros(2, 2), (9, 12), "zeros")
    expected = kornia.geometry.transform.rotate(images, torch.full((2,), angle), align_corners=True)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.02)


def test_a_quarter_turn_is_torch_s():
    images = pictures(3, 8, 8).float()
    found = warp(images, inverse_affine(torch.full((3,), math.pi / 2), torch.ones(3), torch.zeros(3)), torch.zeros(3, 2), (8, 8), "border")
    torch.testing.assert_close(found, torch.rot90(images, 1, (2, 3)), rtol=0, atol=1e-2)


def test_the_inverse_is_the_inverse_of_scale_rotation_and_shear():
    angle, scale, shear = torch.tensor([0.3, -1.1]), torch.tensor([0.7, 1.4]), torch.tensor([0.2, -0.5])
    for i in range(2):
        a, h = angle[i].item(), shear[i].item()
        # Counter-clockwise where y points down: the point (1, 0) on the right goes up, to (cos, -sin).
        rotation = torch.tensor([[math.cos(a), math.sin(a)], [-math.sin(a), math.cos(a)]])
        forward = scale[i] * rotation @ torch.tensor([[1.0, math.tan(h)], [0.0, 1.0]])
        torch.testing.assert_close(inverse_affine(angle, scale, shear)[i] @ forward, torch.eye(2))


def test_an_affine_move_is_a_shift_and_lies_in_its_range():
    dot = torch.zeros(3000, 1, 9, 9)
    dot[:, :, 4, 4] = 1.0
    moved = RandomAffine(translation=1 / 3)({"inputs": dot}, draws(3000))["inputs"][:, 0]
    places = torch.arange(9.0) - 4
    # Bilinear weights keep the centre of mass while the dot stays inside; 1/3 of 9 pixels is 3.
    x, y = (moved * places).sum((1, 2)), (moved * places[:, None]).sum((1, 2))
    for mean in (x, y):
        assert mean.abs().max() <= 3 + 1e-4 and mean.max() > 2.9 and mean.min() < -2.9
        assert abs(mean.mean()) < 4 * 3 / math.sqrt(3 * 3000)
    assert abs(torch.corrcoef(torch.stack([x, y]))[0, 1]) < 4 / math.sqrt(3000)


def test_affine_angles_and_scales_lie_in_their_ranges():
    """A dot 10 pixels right of the centre lands at the angle and distance that were drawn."""
    dot = torch.zeros(2000, 1, 31, 31)
    dot[:, :, 15, 25] = 1.0
    moved = RandomAffine(degrees=20.0, scale=(0.8, 1.2))({"inputs": dot}, draws(2000))["inputs"][:, 0]
    places = torch.arange(31.0) - 15
    mass = moved.sum((1, 2))
    x, y = (moved * places).sum((1, 2)) / mass, (moved * places[:, None]).sum((1, 2)) / mass
    degrees, distance = torch.atan2(-y, x).rad2deg(), torch.hypot(x, y)
    assert -22 < degrees.min() < -18 and 18 < degrees.max() < 22 and abs(degrees.mean()) < 4 * 20 / math.sqrt(3 * 2000)
    assert 7.5 < distance.min() < 8.4 and 11.6 < distance.max() < 12.5


def test_a_resized_crop_shows_the_part_that_it_should():
    """On an image whose value is the place, the result's slope is the part's side over the size, and its mean the part's centre."""
    height, width, size, count = 24, 32, 8, 2000
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    images = torch.stack([x, y]).repeat(count, 1, 1, 1)
    found = RandomResizedCrop(size, area=(0.25, 0.5), ratio=(0.5, 2.0))({"inputs": images}, draws(count))["inputs"]
    wide = (found[:, 0, :, 4] - found[:, 0, :, 3]).mean(1) * size
    tall = (found[:, 1, 4, :] - found[:, 1, 3, :]).mean(1) * size
    area, ratio = wide * tall / (height * width), (wide / tall).log() / math.log(2)
    assert wide.max() <= width + 1e-3 and tall.max() <= height + 1e-3
    uncut = tall < height - 0.01
    assert 0.25 - 1e-3 <= area[uncut].min() < 0.26 and 0.48 < area.max() <= 0.5 + 1e-3
    assert ratio.min() >= -1 - 1e-3 and ratio.max() <= 1 + 1e-3 and ratio.max() > 0.97
    assert ((found[:, 0].mean((1, 2)) - wide / 2 > -0.2) & (found[:, 0].mean((1, 2)) + wide / 2 < width + 0.2)).all()
    assert abs(found[:, 0].mean() - width / 2) < 0.5 and abs(found[:, 1].mean() - height / 2) < 0.5


@pytest.mark.parametrize("area", [(0.0, 1.0), (0.5, 0.2)])
@pytest.mark.parametrize(("transform", "name"), [(RandomResizedCrop, "area"), (RandomErasing, "ratio"), (RandomAffine, "scale")])
def test_a_range_that_is_none_is_refused(transform, name, area):
    size = {"size": 8} if transform is RandomResizedCrop else {}
    with pytest.raises(ValueError, match=rf"{name} must be .* ascending"):
        transform(**size, **{name: area})


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "conf" / "augment").glob("*.yaml")))
def test_every_configured_augmentation_can_be_built_and_run(name, write, splits):
    _, card = write(splits)
    targets = compose(ROOT, [f"augment={name}"]).augment.train
    batch = {"inputs": pictures(3, 32, 32)}
    for transform in (build(target, card=card) for target in targets):
        batch = transform(batch, draws(3))
    assert batch["inputs"].shape[:2] == (3, 3)
    assert torch.equal(batch["inputs"], pictures(3, 32, 32)) == (not targets)


def test_erase_by_hand():
    image = torch.arange(1.0, 10.0).reshape(1, 1, 3, 3).repeat(3, 1, 1, 1)
    top, left = torch.tensor([1, -1, 0]), torch.tensor([0, 2, 0])
    height, width = torch.tensor([2, 2, 0]), torch.tensor([2, 5, 3])
    found = erase(image, top, left, height, width, fill=0.5)[:, 0].tolist()
    assert found == [
        [[1, 2, 3], [0.5, 0.5, 6], [0.5, 0.5, 9]],
        [[1, 2, 0.5], [4, 5, 6], [7, 8, 9]],
        [[1, 2, 3], [4, 5, 6], [7, 8, 9]],
    ]


def test_cutout_blanks_a_square_about_each_pixel_alike():
    # An odd square of 3 about a uniform pixel of 5 x 5: a corner pixel is hit by 4 of 25 centres, the middle by 9.
    found = Cutout(3, fill=7.0)({"inputs": torch.zeros(5000, 2, 5, 5)}, draws(5000))["inputs"]
    assert torch.equal(found[:, 0], found[:, 1]) and set(found.unique().tolist()) == {0.0, 7.0}
    share = (found[:, 0] == 7).float().mean(0)
    assert abs(share[0, 0] - 4 / 25) < 0.025 and abs(share[2, 2] - 9 / 25) < 0.03 and abs(share[4, 4] - 4 / 25) < 0.025


def test_random_erasing_takes_rectangles_of_the_drawn_area_as_often_as_it_should():
    count, side = 3000, 40
    found = RandomErasing(0.6, area=(0.1, 0.3), ratio=(0.5, 2.0), fill=1.0)({"inputs": torch.zeros(count, 1, side, side)}, draws(count))["inputs"]
    blank = found[:, 0] == 1
    tall, wide = blank.any(2).sum(1), blank.any(1).sum(1)
    assert torch.equal(tall * wide, blank.sum((1, 2)))  # a full rectangle, inside the image
    hit = tall > 0
    assert abs(hit.sum() - 0.6 * count) < 4 * math.sqrt(count * 0.6 * 0.4)
    area, ratio = (tall * wide)[hit] / side**2, tall[hit] / wide[hit]
    assert 0.09 < area.min() < 0.12 and 0.28 < area.max() < 0.32 and abs(area.mean() - 0.2) < 0.01
    assert 0.4 < ratio.min() < 0.6 and 1.8 < ratio.max() < 2.3
    assert blank[:, 0].any() and blank[:, -1].any() and blank[:, :, 0].any() and blank[:, :, -1].any()
