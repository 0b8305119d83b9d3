"""The sheets of a generative model: every pixel in its place, and nothing where there is nothing to show."""

from __future__ import annotations

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from components.reporting.journal import Journal
from components.reporting.run import Run
from components.reporting.sections.generative import generative, tiled


@pytest.fixture
def run() -> Run:
    rng = np.random.default_rng(0)
    gallery = {
        name: rng.integers(0, 256, shape, dtype=np.uint8) for name, shape in (("generated", (20, 1, 8, 8)), ("interpolations", (2, 3, 1, 8, 8)))
    }
    return Run({}, {}, {}, {}, {"test": {}}, Journal((), (), (), 0), {}, gallery, None, ())


def pixels(address: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))))


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_stands_at_its_row_and_column(channels):
    grid = np.random.default_rng(0).integers(0, 256, (2, 3, channels, 4, 5), dtype=np.uint8)
    sheet = tiled(grid)
    assert sheet.shape == (2 * 6 - 2, 3 * 7 - 2) + ((3,) if channels == 3 else ())
    expected = grid[1, 2].transpose(1, 2, 0) if channels == 3 else grid[1, 2, 0]
    np.testing.assert_array_equal(sheet[6:10, 14:19], expected)
    assert (sheet[4:6] == 128).all() and (sheet[:, 5:7] == 128).all()


def test_sheets_are_enlarged_by_whole_numbers_and_filled_up(run):
    section = generative(run)
    assert section is not None and [figure["title"] for figure in section.context["figures"]] == ["Generated", "Interpolations"]
    sheet = pixels(section.context["figures"][0]["pictures"][0]["address"])
    scale = 1000 // (16 * 10 - 2)
    assert sheet.shape == ((2 * 10 - 2) * scale, (16 * 10 - 2) * scale)
    small = sheet[::scale, ::scale]
    np.testing.assert_array_equal(small[10:18, 30:38], run.gallery["generated"][19, 0])
    assert (small[10:, 40:] == 128).all()  # 20 images on 32 places
    assert generative(run) == section  # the same bytes again


def test_an_autoencoder_shows_its_greatest_losses_first(run):
    images = np.random.default_rng(1).integers(0, 256, (3, 1, 8, 8), dtype=np.uint8)
    samples = {"inputs": images, "reconstructions": images, "losses": np.array([1.0, 3.0, 2.0]), "sample_id": np.array([7, 8, 9])}
    section = generative(replace(run, samples=samples))
    assert section is not None
    assert [p["caption"] for p in section.context["figures"][-1]["pictures"]] == ["sample 8: 3.0 nats", "sample 9: 2.0 nats", "sample 7: 1.0 nats"]
    assert pixels(section.context["figures"][-1]["pictures"][0]["address"]).shape == (8, 16)


def test_other_systems_have_no_such_section(run):
    assert generative(replace(run, gallery={})) is None
    assert generative(replace(run, gallery={"generated": np.zeros((3, 20), np.int64)})) is None  # sampled tokens
