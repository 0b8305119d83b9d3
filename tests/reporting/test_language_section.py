"""The section of language models: it shows itself for them alone, and draws the same bytes again."""

from __future__ import annotations

import base64
import dataclasses
import io
import math

import numpy as np
import pytest
from PIL import Image

from components.reporting.journal import Journal
from components.reporting.run import Run
from components.reporting.sections.language import language

NAMES = ["\n", " ", "a", "b", "W"]


@pytest.fixture
def run() -> Run:
    rng = np.random.default_rng(0)
    nats = rng.uniform(0, 8, (5, 70)).astype(np.float32)
    samples = {"targets": rng.integers(0, 5, (5, 70)), "nats": nats, "losses": nats.mean(axis=1), "sample_id": np.arange(5) * 3}
    gallery = {
        "prompt": np.array([2, 3]),
        "continuations": np.array([[1, 2, 0], [3, 3, 3], [4, 1, 4]]),
        "temperature": np.array([0.0, 0.5, 1.0], np.float32),
        "top_k": np.array([0, 10, 0]),
        "top_p": np.array([1.0, 1.0, 0.9], np.float32),
    }
    card = {"columns": {"tokens": {"classes": NAMES}}}
    metrics = {"test": {"bits_per_token": 1.5, "bigram_bits": 1.75, "unigram_bits": 2.0}}
    return Run({}, card, {}, {}, metrics, Journal((), (), (), 0), samples, gallery, None, ())


def picture(address: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))))


def test_scores_texts_and_surprise(run: Run) -> None:
    section = language(run)
    assert section is not None and section.template == "figures"
    (table,) = section.context["tables"]
    assert table["columns"][1] == "bits per character"
    assert [row[1] for row in table["rows"]] == [1.5, 1.75, 2.0, math.log2(5)]
    assert table["rows"][2][3] == 4.0
    texts = [(text["title"], text["text"]) for text in section.context["texts"]]
    assert texts == [
        ("Prompt, of the evaluated text", "ab"),
        ("Continued: the likeliest token each time", " a\n"),
        ("Continued: temperature 0.5, top 10", "bbb"),
        ("Continued: temperature 1, top 90% of probability", "W W"),
    ]
    (figure,) = section.context["figures"]
    order = np.argsort(run.samples["losses"])
    rows = [int(caption["caption"].split("row ")[1].split(",")[0]) for caption in figure["pictures"]]
    assert rows == [int(run.samples["sample_id"][i]) for i in (order[0], order[2], order[4])]
    again = language(run)
    assert again is not None and again.context == section.context


def test_colour_grows_with_nats(run: Run) -> None:
    run.samples["nats"][:] = np.linspace(0, 12, 70)
    run.samples["targets"][:] = 1  # blanks: nothing but colour
    section = language(run)
    assert section is not None
    pixels = picture(section.context["figures"][0]["pictures"][0]["address"]).astype(int)
    green = pixels[10, 7 : 64 * 14 : 14, 1]  # the first line's cells
    assert green[0] == 255 and (np.diff(green) <= 0).all() and green[40] == green[63] == 88
    assert pixels.shape == (2 * 22, 64 * 14, 3)  # 64 tokens a line, then the other six


@pytest.mark.parametrize("absent", ["nats", "targets"])
def test_other_runs_have_no_such_section(run: Run, absent: str) -> None:
    samples = {name: value for name, value in run.samples.items() if name != absent}
    assert language(dataclasses.replace(run, samples=samples)) is None
    assert language(dataclasses.replace(run, card={})) is None


def test_without_a_gallery_or_scores_the_rest_is_drawn(run: Run) -> None:
    section = language(dataclasses.replace(run, gallery={}, metrics={}))
    assert section is not None
    assert section.context["texts"] == [] and section.context["tables"] == [] and section.context["figures"]
