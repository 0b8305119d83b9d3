"""Transforms against values worked by hand, on whole batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from components.data.dataset import ShardDataset
from components.data.draws import Draws
from components.data.transforms import RandomShift, Resize, Standardize, shift
from components.errors import UserError


def draws(count: int) -> Draws:
    return Draws(0, 0, torch.arange(count))


def test_standardised_training_images_have_mean_zero_and_deviation_one(write, splits):
    directory, card = write(splits)
    batch = ShardDataset(directory, "train").fetch(np.arange(60))
    inputs = Standardize(card)(batch, draws(60))["inputs"]
    assert inputs.dtype == torch.float32 and inputs.shape == (60, 1, 4, 5)
    assert abs(inputs.mean().item()) < 1e-6 and abs(inputs.std(correction=0).item() - 1) < 1e-6
    assert batch["inputs"].dtype == torch.uint8  # the given batch is untouched


def test_standardise_uses_each_channel_of_its_own(write, splits):
    for split in splits.values():
        split["inputs"] = np.concatenate([split["inputs"], np.full_like(split["inputs"], 7)], axis=1)
    directory, card = write(splits)
    inputs = Standardize(card)(ShardDataset(directory, "train").fetch(np.arange(60)), draws(60))["inputs"]
    assert abs(inputs[:, 0].std(correction=0).item() - 1) < 1e-6
    assert (inputs[:, 1] == 0).all()  # a channel that never varies is centred, not divided by zero


def test_standardise_refuses_a_column_without_statistics(write, splits):
    _, card = write(splits)
    with pytest.raises(UserError, match="'targets' has no statistics"):
        Standardize(card, column="targets")


def test_resize_doubles_by_hand():
    # Pixel centres of 4 in 2 lie at -0.25, 0.25, 0.75, 1.25: weights 0, 1/4, 3/4, 1 of the second pixel.
    batch = {"inputs": torch.tensor([[[[0, 100], [0, 100]]]], dtype=torch.uint8)}
    resized = Resize(4)(batch, draws(1))["inputs"]
    assert resized.dtype == torch.float32
    assert resized[0, 0].tolist() == [[0.0, 25.0, 75.0, 100.0]] * 4


def test_shift_by_hand():
    image = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    moved = shift(image.repeat(3, 1, 1, 1), torch.tensor([[0, 1], [-1, 0], [2, 2]]), limit=2)
    assert moved[:, 0].tolist() == [[[0, 1], [0, 3]], [[3, 4], [0, 0]], [[0, 0], [0, 0]]]


def test_shift_is_a_roll_of_the_padded_image():
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(9, 3, 6, 5, generator=generator)
    offsets = torch.tensor([[dy, dx] for dy in (-2, 0, 1) for dx in (-1, 0, 2)])
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2))
    rolled = [torch.roll(p, (dy, dx), dims=(1, 2))[:, 2:8, 2:7] for p, (dy, dx) in zip(padded, offsets.tolist(), strict=True)]
    assert torch.equal(shift(images, offsets, 2), torch.stack(rolled))


def test_random_shift_takes_every_offset_and_depends_on_the_sample_alone():
    dot = torch.zeros(2000, 1, 5, 5)
    dot[:, :, 2, 2] = 1.0
    moved = RandomShift(2)({"inputs": dot}, draws(2000))["inputs"]
    places, counts = moved.flatten(1).argmax(1).unique(return_counts=True)
    assert len(places) == 25 and counts.min() > 40  # 80 expected each; 4.5 standard deviations
    assert (moved.sum((1, 2, 3)) == 1).all()
    alone = RandomShift(2)({"inputs": dot[:1]}, Draws(0, 0, torch.tensor([1234])))["inputs"]
    assert torch.equal(alone[0], moved[1234])
