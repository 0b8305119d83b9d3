"""The section of segmentation: drawn where there are overlaps, the same bytes twice, colours that tell classes apart."""

from __future__ import annotations

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from components.reporting.journal import Journal
from components.reporting.run import Run
from components.reporting.sections.segmentation import OTHER_SAMPLES, WORST_SAMPLES, palette, segmentation


@pytest.fixture
def run() -> Run:
    rng = np.random.default_rng(0)
    masks, predictions = (rng.integers(0, high, (20, 12, 16)).astype(np.uint8) for high in (4, 3))
    samples = {"masks": masks, "predictions": predictions, "inputs": rng.integers(0, 255, (20, 3, 12, 16)).astype(np.uint8)}
    samples |= {"losses": rng.random(20), "sample_id": np.arange(20)}
    rows = [{"class": name, "iou": 0.5, "dice": 0.6, "accuracy": 0.7, "pixels": 9} for name in ("sky", "road")]
    rows.append({"class": "car", "iou": None, "dice": None, "accuracy": None, "pixels": 0})
    metrics = {"test": {"mean_iou": 0.5, "per_class_iou": rows, "pixel_confusion": [[6, 2, 1], [4, 5, 0], [0, 0, 0]]}}
    return Run({}, {}, {}, {}, metrics, Journal((), (), (), 0), samples, {}, None, ())


def test_each_chosen_sample_has_its_four_pictures(run):
    section = segmentation(run)
    legend, *figures = section.context["figures"]
    assert [picture["caption"] for picture in legend["pictures"]] == ["sky", "road", "car", "not judged"]
    assert len(figures) == WORST_SAMPLES + OTHER_SAMPLES
    assert figures[0]["title"].startswith(f"Sample {run.samples['losses'].argmax()}: loss")
    assert all([p["caption"] for p in figure["pictures"]] == ["photo", "truth", "prediction", "error"] for figure in figures)
    assert segmentation(run).context == section.context


def test_colours_are_those_of_the_legend_and_red_is_wrong(run):
    i = int(run.samples["losses"].argmax())
    truth, error = (pixels(segmentation(run).context["figures"][1]["pictures"][k]) for k in (1, 3))
    mask, found = run.samples["masks"][i], run.samples["predictions"][i]
    for k in range(3):
        assert (truth[mask == k] == palette(3)[k]).all()
    assert (error[..., 0].astype(int) - error[..., 1] > 100).tolist() == ((mask != found) & (mask < 3)).tolist()


def pixels(picture):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(picture["address"].partition(",")[2]))))


def test_tables_hold_the_overlaps_and_the_greatest_confusions(run):
    classes, confused = segmentation(run).context["tables"]
    assert classes["rows"][0] == ["sky", 0.5, 0.6, 0.7, 9] and classes["rows"][2][1] == "never seen"
    assert confused["rows"] == [
        ["road", "sky", 4, pytest.approx(4 / 9)],
        ["sky", "road", 2, pytest.approx(2 / 9)],
        ["sky", "car", 1, pytest.approx(1 / 9)],
    ]


def test_the_palette_is_pascal_voc_s():
    assert palette(5).tolist() == [[128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128], [128, 0, 128]]
    assert len({tuple(colour) for colour in palette(60).tolist()}) == 60


def test_it_shows_for_no_other_kind_and_without_samples_the_tables_alone(run):
    assert segmentation(replace(run, metrics={"test": {"accuracy": 1.0}})) is None
    assert len(segmentation(replace(run, samples={})).context["figures"]) == 1
