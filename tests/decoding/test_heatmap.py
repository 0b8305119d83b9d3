"""Heatmaps: the Gaussian's published values, and joints that come back to a hundredth of a pixel."""

from __future__ import annotations

import math

import pytest
import torch

from components.decoding.heatmap import HeatmapCodec


def joints(count: int, low: float, high: float, *shape: int) -> torch.Tensor:
    torch.manual_seed(0)
    places = low + (high - low) * torch.rand(*shape, count, 2)
    return torch.cat([places, torch.full((*shape, count, 1), 2.0)], dim=-1)


def test_a_joint_on_a_cell_gives_one_there_and_0_6065_one_sigma_off():
    codec = HeatmapCodec(stride=4, sigma=2.0)
    maps = codec.encode(torch.tensor([[[4 * 5 + 1.5, 4 * 3 + 1.5, 2.0]]]), 12, 16)[0, 0]
    assert maps[3, 5] == 1.0
    assert maps[3, 7].item() == pytest.approx(0.6065, abs=1e-4)  # notes 003 L372
    assert maps[5, 7].item() == pytest.approx(math.exp(-1.0))


@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("shape", [(3,), (2, 5)])
def test_round_trip_between_the_cells(stride, shape):
    codec = HeatmapCodec(stride, sigma=1.0)
    side = 16 * stride
    truth = joints(14, 1.0 * stride, side - 2.0 * stride, *shape)
    found = codec.decode(codec.encode(truth, 16, 16))
    assert found.shape == truth.shape
    assert (found[..., :2] - truth[..., :2]).abs().max() < 0.01 * stride


def test_at_the_border_the_error_is_half_a_cell():
    codec = HeatmapCodec(stride=4, sigma=1.0)
    truth = joints(200, 0.0, 63.0, 1)
    error = (codec.decode(codec.encode(truth, 16, 16))[..., :2] - truth[..., :2]).abs()
    assert error.max() <= 2.0 + 1e-3


def test_a_scaled_map_gives_the_same_place_and_noise_moves_it_little():
    codec = HeatmapCodec(stride=2, sigma=1.0)
    truth = joints(14, 4.0, 27.0, 4)
    maps = codec.encode(truth, 16, 16)
    torch.testing.assert_close(codec.decode(0.3 * maps)[..., :2], codec.decode(maps)[..., :2], atol=1e-3, rtol=0)
    noisy = codec.decode(maps + 0.05 * torch.randn_like(maps))
    assert (noisy[..., :2] - truth[..., :2]).norm(dim=-1).mean() < 0.4  # a rounded place is 0.77 off on average


def test_what_is_not_labelled_gives_zeros_and_a_flat_map_is_finite():
    codec = HeatmapCodec(stride=2, sigma=1.0)
    maps = codec.encode(torch.tensor([[[5.0, 5.0, 0.0], [5.0, 5.0, 1.0]]]), 8, 8)
    assert maps[0, 0].eq(0).all() and maps[0, 1].max() > 0.7
    assert codec.decode(-torch.ones(1, 2, 8, 8)).isfinite().all()
    assert codec.decode(torch.zeros(2, 3, 4, 5, 7)).shape == (2, 3, 4, 3)


def test_height_and_width_are_not_mixed_up():
    codec = HeatmapCodec(stride=1, sigma=1.0)
    maps = codec.encode(torch.tensor([[[9.0, 2.0, 2.0]]]), 5, 13)
    assert maps.shape == (1, 1, 5, 13) and maps[0, 0, 2, 9] == 1.0
    assert codec.decode(maps)[0, 0].tolist() == pytest.approx([9.0, 2.0, 1.0], abs=1e-4)


@pytest.mark.parametrize("options", [(0, 1.0), (2, 0.0)])
def test_impossible_options(options):
    with pytest.raises(ValueError, match="must be positive"):
        HeatmapCodec(*options)
