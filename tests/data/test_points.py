"""Solids against their areas, transforms of clouds against hand figures."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from components.data.draws import Draws
from components.data.points import InUnitSphere, MovePoints, in_unit_sphere, turned_about_z
from components.data.sources.solids import FAMILIES, areas, cloud, on_surface, read_solids, turned


def test_turned_profiles_have_the_solids_areas():
    """Cylinder 2 pi r (r + h), cone pi r (r + l), square prism of circumradius r, torus 4 pi^2 R r; 64 steps are round to 1 in 200."""
    r, h = 1.0, 2.0
    bar = np.array([(0, 0), (0, r), (h, r), (h, 0)], dtype=float)
    assert areas(turned(bar, 64)).sum() == pytest.approx(2 * math.pi * r * (r + h), rel=5e-3)
    assert areas(turned(bar, 4)).sum() == pytest.approx(2 * 2 + 4 * math.sqrt(2) * h)  # two squares of area 2 r^2, four sides r sqrt 2 by h
    cone = np.array([(0, 0), (0, r), (h, 0)], dtype=float)
    assert areas(turned(cone, 64)).sum() == pytest.approx(math.pi * (1 + math.hypot(1, 2)), rel=5e-3)
    angle = np.linspace(0, 2 * math.pi, 65)
    ring = np.stack([0.3 * np.cos(angle), 1 + 0.3 * np.sin(angle)], axis=1)
    assert areas(turned(ring, 64)).sum() == pytest.approx(4 * math.pi**2 * 0.3, rel=5e-3)


def test_points_lie_on_the_surface_in_proportion_to_area():
    """A cylinder of radius 1 and height 2: a sixth of the area is each end, and a quarter of an end lies within radius 1/2."""
    rng = np.random.default_rng(0)
    points = on_surface(turned(np.array([(0, 0), (0, 1), (2, 1), (2, 0)], dtype=float), 64), 30_000, rng)
    radius = np.hypot(points[:, 1], points[:, 2])
    ends = (points[:, 0] < 1e-9) | (points[:, 0] > 2 - 1e-9)
    assert ends.mean() == pytest.approx(1 / 3, abs=0.01)
    assert (radius[ends] < 0.5).mean() == pytest.approx(0.25, abs=0.02)
    assert radius[~ends].min() > 0.998


def test_a_row_is_its_own_whatever_the_others():
    few, many = (read_solids(Path(), {"train": n, "validation": 10, "test": 10}, 32, 0.01, 0).splits for n in (20, 30))
    assert np.array_equal(few["train"]["inputs"], many["train"]["inputs"][:20]) and np.array_equal(few["test"]["inputs"], many["test"]["inputs"])
    assert not np.allclose(few["test"]["inputs"], few["validation"]["inputs"])
    assert np.bincount(few["train"]["targets"]).tolist() == [2] * 10


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_a_cloud_of_radius_one(family):
    points = cloud(family, 200, 0.0, np.random.default_rng(1))
    assert points.shape == (200, 3) and np.isfinite(points).all()
    assert 0.3 < np.linalg.norm(points - points.mean(0), axis=1).max() < 1.4


def test_clouds_are_centred_and_turned():
    cloud = torch.tensor([[[1.0, 0, 0], [3.0, 0, 0], [2.0, 2.0, 0], [2.0, -2.0, 0]]])
    assert in_unit_sphere(cloud).tolist() == [[[-0.5, 0, 0], [0.5, 0, 0], [0, 1, 0], [0, -1, 0]]]
    assert torch.isfinite(in_unit_sphere(torch.ones(1, 4, 3))).all()
    torch.testing.assert_close(turned_about_z(torch.tensor([[[1.0, 0, 5]]]), 90.0), torch.tensor([[[0.0, 1, 5]]]))


def test_moving_keeps_heights_and_distances_and_belongs_to_the_sample():
    points, sample_id = torch.randn(6, 20, 3), torch.arange(6)
    move = MovePoints(degrees=180)
    moved = move({"inputs": points}, Draws(0, 0, sample_id))["inputs"]
    torch.testing.assert_close(moved[..., 2], points[..., 2])
    torch.testing.assert_close(torch.cdist(moved, moved), torch.cdist(points, points), rtol=1e-3, atol=1e-3)
    alone = move({"inputs": points[3:4]}, Draws(0, 0, sample_id[3:4]))["inputs"]
    assert torch.equal(alone, moved[3:4])
    jitter = MovePoints(jitter=0.02)({"inputs": points}, Draws(0, 0, sample_id))["inputs"] - points
    assert jitter.std().item() == pytest.approx(0.02, rel=0.2)
    assert InUnitSphere()({"inputs": points.double()}, Draws(0, 0, sample_id))["inputs"].dtype == torch.float32
