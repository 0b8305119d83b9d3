"""The sections of graphs and of clouds: drawn where their keys are, the same bytes twice, nothing for others."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from components.reporting.journal import Journal
from components.reporting.run import Run
from components.reporting.sections.graph import graph, layout, scatter
from components.reporting.sections.points import points, projection


def run(metrics=None, samples=None, gallery=None):
    return Run({}, {}, {}, {}, {"test": metrics or {}}, Journal((), (), (), 0), samples or {}, gallery or {}, None, ())


PER_CLASS = {"per_class": [{"class": name} for name in ("cat", "dog")]}


def pixels(picture):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(picture["address"].partition(",")[2]))))


def test_nodes_are_drawn_in_the_plane_and_wrong_ones_in_red():
    gallery = {"node_places": np.array([[0, 0], [1, 1], [0, 1.0]]), "node_targets": np.array([0, 1, 1])}
    gallery |= {"node_predictions": np.array([1, 1, 0]), "node_judged": np.array([1, 1, 0])}
    shown = run(PER_CLASS, gallery=gallery)
    section = graph(shown)
    assert section.context == graph(shown).context and "2 of 3 nodes" in section.context["intro"]
    wrong = pixels(section.context["figures"][1]["pictures"][2])
    side = len(wrong)
    assert wrong[side - 14, 14].tolist() == [214, 40, 57] and wrong[14, side - 14].tolist() == [210, 210, 216]


def test_small_graphs_are_drawn():
    gallery = {"graph_nodes": np.array([0, 1, 1, 0]), "graph_nodes_offsets": np.array([0, 3, 4])}
    gallery |= {"graph_edges": np.array([[0, 1], [1, 0], [1, 2], [2, 1]]), "graph_edges_offsets": np.array([0, 4, 4])}
    gallery |= {"graph_targets": np.array([0, 1]), "graph_predictions": np.array([1, 1]), "graph_places": np.array([[0.0, 1], [2, 3]])}
    section = graph(run(PER_CLASS, gallery=gallery))
    drawn = section.context["figures"][-1]["pictures"]
    assert [p["caption"] for p in drawn] == ["3 nodes, cat, predicted dog", "1 nodes, dog, predicted dog"]
    assert len(np.unique(pixels(drawn[0]).reshape(-1, 3), axis=0)) > 3


def test_the_layout_brings_neighbours_together():
    edges = np.array([[i, i + 1] for i in range(9)])
    places = layout(10, np.vstack([edges, edges[:, ::-1]]))
    near = np.linalg.norm(places[:-1] - places[1:], axis=1)
    assert np.isfinite(places).all() and near.max() < np.linalg.norm(places[0] - places[-1])
    assert layout(1, np.empty((0, 2), int)).shape == (1, 2) and scatter(np.zeros((2, 2)), np.zeros((2, 3))).shape[2] == 3


def test_clouds_show_critical_points_and_charts_their_slices():
    rng = np.random.default_rng(0)
    samples = {"inputs": rng.normal(size=(3, 30, 3)), "critical": rng.random((3, 30)) < 0.2, "losses": np.array([0.1, 2.0, 0.3])}
    samples |= {"sample_id": np.arange(3), "targets": np.array([0, 1, 1]), "predictions": np.array([0, 0, 1])}
    slices = {"points": [{"value": 8.0, "accuracy": 0.5}, {"value": 16.0, "accuracy": 0.75}]}
    shown = run({**PER_CLASS, "accuracy": 0.9, "slices": slices}, samples)
    section = points(shown)
    assert section.context == points(shown).context
    pictures = section.context["figures"][0]["pictures"]
    assert pictures[0]["caption"] == "sample 1: dog, taken for cat" and len(pictures) == 3
    assert len(section.context["charts"]) == 1 and section.context["tables"][0]["rows"] == [["8", 0.5], ["16", 0.75]]
    one = projection(np.array([[0.0, 0, 0], [1, 0, 0]]), np.array([True, False]))
    assert (one == (214, 40, 57)).all(2).any() and (one == (170, 174, 186)).all(2).any()


@pytest.mark.parametrize("samples", [{}, {"inputs": np.zeros((2, 1, 8, 8)), "losses": np.zeros(2)}])
def test_they_show_for_no_other_kind(samples):
    other = run({"accuracy": 1.0, "per_class": []}, samples)
    assert graph(other) is None and points(other) is None
