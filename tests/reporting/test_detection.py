"""The section on detection: what it is drawn from, and that nobody else gets one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from components.reporting.journal import Journal
from components.reporting.run import Run
from components.reporting.sections.detection import detection, draw_boxes

NAMES = ["RBC", "WBC"]


@pytest.fixture
def run() -> Run:
    row = {"objects": 3, "average_precision_50": 0.8, "average_precision_75": 0.5, "average_precision": 0.4}
    table = [
        {"class": "RBC", **row, "precision": 0.9, "recall": 0.7, "score": 0.5},
        {"class": "WBC", **{**dict.fromkeys(row), "objects": 0}, "precision": None, "recall": None, "score": None},
    ]
    curve = {"recall": [0.0, 0.5, 1.0], "precision": {"RBC": [1.0, 0.9, 0.0]}}
    samples = {
        "inputs": np.full((2, 3, 24, 32), 90, np.uint8), "losses": np.array([0.1, 2.0]), "sample_id": np.array([4, 7]),
        "boxes": np.array([[2, 3, 12, 13], [0, 0, 32, 24], [5, 5, 9, 9]], np.float32), "boxes.offsets": np.array([0, 1, 3]),
        "labels": np.array([0, 1, 0]), "labels.offsets": np.array([0, 1, 3]),
        "found_boxes": np.tile(np.array([[4.0, 4, 14, 14]], np.float32), (2, 3, 1)),
        "found_scores": np.array([[0.9, 0.4, 0], [0.8, 0.6, 0.5]], np.float32), "found_labels": np.array([[0, 0, -1], [0, 0, 0]]),
    }  # fmt: skip
    return Run({}, {}, {}, {}, {"test": {"detection": table, "precision_recall": curve}}, Journal((), (), (), 0), samples, {}, None, ())


def test_photos_table_and_curve(run):
    section = detection(run)
    assert section is not None and section.template == "figures"
    (figure,) = section.context["figures"]
    assert [p["caption"] for p in figure["pictures"]] == ["sample 7, 2 true, 3 found, loss 2", "sample 4, 1 true, 1 found, loss 0.1"]
    assert section.context["tables"][0]["rows"][0][:3] == ["RBC", 3, 0.8] and section.context["tables"][0]["rows"][1][2] == "none"
    assert "recall" in section.context["charts"][0] and "AP 0.633" in section.context["charts"][0]
    assert detection(run) == section  # the same bytes


def test_others_get_none(run):
    assert detection(replace(run, metrics={"test": {"accuracy": 1.0}})) is None
    assert detection(replace(run, samples={})).context["figures"] == []


def test_boxes_are_drawn_where_they_are():
    photo = np.full((3, 24, 32), 90, np.uint8)
    pixels = draw_boxes(photo, np.array([[2.0, 16.0, 8.0, 22.0]]), np.array([[16.0, 8.0, 30.0, 20.0]]), np.array([1]), np.array([0.5]), NAMES)
    assert pixels.shape == (360, 480, 3)
    assert (pixels[16 * 15, 2 * 15 : 8 * 15] == 255).all() and (pixels[16 * 15 + 5, 2 * 15 + 5] == 90).all()
    assert (pixels[8 * 15 + 40, 16 * 15] == (72, 150, 255)).all()
