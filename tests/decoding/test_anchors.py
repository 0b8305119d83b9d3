"""Anchors: clusters that one can see, and no luck in them."""

from __future__ import annotations

import numpy as np
import pytest

from components.decoding.anchors import anchors_of, shape_overlaps
from components.errors import UserError


def test_overlaps_of_shapes():
    assert shape_overlaps(np.array([[2.0, 2.0]]), np.array([[2.0, 2.0], [4.0, 1.0], [4.0, 4.0]])).tolist() == [[1.0, 2 / 6, 4 / 16]]


def test_clusters_come_out_whatever_the_order():
    rng = np.random.default_rng(0)
    centres = np.array([[8.0, 9.0], [30.0, 12.0], [40.0, 44.0]])
    shapes = np.concatenate([(centre * rng.uniform(0.9, 1.1, (size, 2))).round(1) for centre, size in zip(centres, (20, 50, 30), strict=True)])
    means = [shapes[:20].mean(0), shapes[20:70].mean(0), shapes[70:].mean(0)]
    assert np.allclose(anchors_of(shapes, 3), means)
    assert np.allclose(anchors_of(shapes[rng.permutation(100)], 3), means)


def test_it_ends_and_every_further_anchor_helps():
    shapes = np.random.default_rng(1).uniform(5, 60, (200, 2))
    fits = [shape_overlaps(shapes, anchors_of(shapes, count)).max(1).mean() for count in (1, 3, 5, 9)]
    assert fits == sorted(fits) and fits[-1] > 0.7


def test_too_few_shapes():
    with pytest.raises(UserError, match="fewer different box shapes"):
        anchors_of(np.ones((10, 2)), 2)
