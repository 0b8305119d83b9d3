"""Augmentation by colour and noise, against Pillow, the standard library and the papers' formulas."""

from __future__ import annotations

import colorsys
import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance
from scipy import stats

from components.data.augment_color import ColorJitter, GaussianNoise, PCAColor
from components.data.draws import Draws
from components.errors import UserError


def draws(count: int) -> Draws:
    return Draws(0, 0, torch.arange(count))


def pictures(count: int, seed: int = 0) -> torch.Tensor:
    """`(count, 3, 6, 5)` uint8."""
    return torch.randint(0, 256, (count, 3, 6, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("name", "enhance"), [("brightness", ImageEnhance.Brightness), ("contrast", ImageEnhance.Contrast), ("saturation", ImageEnhance.Color)]
)
def test_brightness_contrast_and_saturation_are_pillow_s(name, enhance):
    images = pictures(8)
    found = ColorJitter(**{name: 0.7})({"inputs": images}, draws(8))["inputs"]
    factors = 0.3 + draws(8).uniform(f"color_jitter.{name}") * 1.4
    for image, factor, result in zip(images, factors.tolist(), found, strict=True):
        expected = np.asarray(enhance(Image.fromarray(image.permute(1, 2, 0).numpy())).enhance(factor))
        np.testing.assert_allclose(result.permute(1, 2, 0), expected, atol=2.5)  # Pillow rounds its grey and its result


def test_hue_turns_the_circle_of_the_standard_library():
    images = pictures(6)
    found = ColorJitter(hue=0.5)({"inputs": images}, draws(6))["inputs"] / 255
    turns = draws(6).uniform("color_jitter.hue") - 0.5
    for image, turn, result in zip(images.double() / 255, turns.tolist(), found, strict=True):
        for y, x in ((0, 0), (3, 2), (5, 4)):
            hue, saturation, value = colorsys.rgb_to_hsv(*image[:, y, x].tolist())
            assert result[:, y, x].tolist() == pytest.approx(colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value), abs=1e-4)


def test_factors_cover_their_range():
    image = torch.full((2000, 1, 1, 1), 100.0)
    found = ColorJitter(brightness=0.5)({"inputs": image}, draws(2000))["inputs"].flatten() / 100
    assert stats.kstest(found.numpy(), "uniform", (0.5, 1.0)).pvalue > 1e-3
    strong = ColorJitter(brightness=1.5)({"inputs": image}, draws(2000))["inputs"].flatten() / 100
    assert strong.min() >= 0 and stats.kstest(strong.numpy(), "uniform", (0.0, 2.5)).pvalue > 1e-3  # never a negative factor


def test_one_draw_does_not_serve_two_changes():
    batch = {"inputs": pictures(1).repeat(500, 1, 1, 1)}
    brightness, contrast = (ColorJitter(**{name: 0.1})(batch, draws(500))["inputs"].flatten(1).std(1) for name in ("brightness", "contrast"))
    assert abs(np.corrcoef(brightness, contrast)[0, 1]) < 4 / math.sqrt(500)


def test_grey_images_have_brightness_and_contrast_only():
    batch = {"inputs": pictures(2)[:, :1]}
    assert ColorJitter(brightness=0.2, contrast=0.2)(batch, draws(2))["inputs"].shape == (2, 1, 6, 5)
    for options in ({"saturation": 0.1}, {"hue": 0.1}):
        with pytest.raises(UserError, match="need colour"):
            ColorJitter(**options)(batch, draws(2))


@pytest.mark.parametrize("options", [{"brightness": -0.1}, {"contrast": -1.0}, {"saturation": -1.0}, {"hue": 0.6}, {"hue": -0.1}])
def test_a_jitter_out_of_range_is_refused(options):
    with pytest.raises(ValueError, match="hue must lie"):
        ColorJitter(**options)


COVARIANCE = [[0.09, 0.05, 0.03], [0.05, 0.07, 0.04], [0.03, 0.04, 0.08]]


def test_pca_colour_is_the_paper_s_formula_for_rotated_draws():
    """P (lambda * alpha) with alpha = P^T n, which is as normal as n."""
    images = torch.full((4, 3, 2, 2), 128.0)
    found = PCAColor(COVARIANCE)({"inputs": images}, draws(4))["inputs"]
    values, vectors = np.linalg.eigh(COVARIANCE)
    alpha = 0.1 * draws(4).normal("pca_color", 3).double().numpy() @ vectors
    expected = 128 + 255 * (alpha * values) @ vectors.T
    np.testing.assert_allclose(found, np.broadcast_to(expected[:, :, None, None], found.shape), rtol=1e-5)


def test_pca_colour_shifts_along_the_components_by_their_eigenvalues():
    shifts = PCAColor(COVARIANCE)({"inputs": torch.full((20_000, 3, 1, 1), 128.0)}, draws(20_000))["inputs"].flatten(1) - 128
    values, vectors = np.linalg.eigh(COVARIANCE)
    along = shifts.double().numpy() @ vectors / 255
    np.testing.assert_allclose(along.std(0), 0.1 * values, rtol=0.03)
    assert np.abs(np.corrcoef(along, rowvar=False) - np.eye(3)).max() < 4 / math.sqrt(20_000)


@pytest.mark.parametrize("covariance", [[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.2, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]])
def test_a_matrix_that_is_no_covariance_of_colours_is_refused(covariance):
    with pytest.raises(ValueError, match="symmetric 3 x 3"):
        PCAColor(covariance)


def test_noise_is_normal_with_a_deviation_of_each_image_s_own():
    found = GaussianNoise(20.0)({"inputs": torch.full((500, 1, 40, 40), 128.0)}, draws(500))["inputs"] - 128
    std = found.flatten(1).std(1)
    assert stats.kstest(std.numpy(), "uniform", (0, 20)).pvalue > 1e-3
    noisy = std > 1
    assert stats.kstest((found.flatten(1)[noisy] / std[noisy, None])[:20].flatten().numpy(), "norm").pvalue > 1e-3


def test_noise_stays_between_black_and_white():
    found = GaussianNoise(500.0)({"inputs": pictures(20)}, draws(20))["inputs"]
    assert (found.min(), found.max()) == (0.0, 255.0)
