"""The section of translations: what it shows, when it does not, and that it is the same bytes again."""

from __future__ import annotations

import numpy as np
import pytest

from components.reporting.journal import Journal
from components.reporting.run import Run
from components.reporting.sections.translation import alignment_picture, translation

CLASSES = ["<pad>", "<bos>", "<eos>", "<unk>", "▁ein", "▁hund", "▁a", "▁do", "g", "."]


def run(**changes) -> Run:
    samples = {
        "sample_id": np.array([3, 8]),
        "losses": np.array([2.0, 1.0]),
        "greedy": np.array([[6, 7, 8, 2, 0], [6, 3, 2, 0, 0]]),
        "beam": np.array([[6, 7, 8, 9, 2], [6, 2, 0, 0, 0]]),
        "source": np.array([4, 5, 2, 5, 2]),
        "source.offsets": np.array([0, 3, 5]),
        "reference": np.frombuffer("A dog.Größe".encode(), np.uint8),
        "reference.offsets": np.array([0, 6, 13]),
    }
    weights = np.full((1, 4, 3), 0.1)
    weights[0, 1, 0] = 0.8
    gallery = {"alignment.source": np.array([[4, 5, 2]]), "alignment.target": np.array([[6, 7, 8, 2]]), "alignment.weights": weights}
    scores = {"precisions": [{"order": 1, "beam": 50.0, "greedy": 40.0}], "signature": "tok:13a"}
    card = {"columns": {"source": {"classes": CLASSES}, "target": {"classes": CLASSES}}}
    fields = {"record": {}, "card": card, "check": {}, "summary": {}, "metrics": {"test": scores}, "samples": samples, "gallery": gallery}
    return Run(**{**fields, "journal": Journal((), (), (), 0), "sheet": None, "missing": (), **changes})


def test_sentences_are_text_best_first():
    section = translation(run())
    precisions, sentences = section.context["tables"]
    assert precisions["rows"] == [[1, 40.0, 50.0]] and "tok:13a" in section.context["intro"]
    assert sentences["rows"] == [
        ["8", "hund", "Größe", "a <unk>", "a", 1.0],
        ["3", "ein hund", "A dog.", "a dog", "a dog.", 2.0],
    ]


def test_an_alignment_has_its_cells_where_the_labels_say():
    weights = np.zeros((2, 3))
    weights[1, 0] = 1.0
    picture = alignment_picture(weights, ["ein", "hund", "."], ["a", "dog"]).copy()
    cell = (picture.shape[0] - 96) // 2
    assert picture.shape == (96 + 2 * cell, 96 + 3 * cell, 3)
    assert (picture[96 + cell :, 96 : 96 + cell] == (47, 107, 216)).all()
    picture[96 + cell :, 96 : 96 + cell] = 255
    assert (picture[96:, 96:] == 255).all()


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_label_stands_at_its_row_or_column(place):
    words, empty = ["größe" if i == place else "" for i in range(3)], ["", "", ""]
    across, down = alignment_picture(np.zeros((3, 3)), words, empty) < 128, alignment_picture(np.zeros((3, 3)), empty, words) < 128
    cell = (across.shape[0] - 96) // 3
    inside = slice(96 + cell * place, 96 + cell * (place + 1))
    assert across[:96, inside].any() and across.sum() == across[:96, inside].sum()
    assert down[inside, :96].any() and down.sum() == down[inside, :96].sum()


def test_the_alignment_of_a_run_is_drawn_and_the_same_bytes_again():
    first, second = translation(run()), translation(run())
    (figure,) = first.context["figures"]
    assert [picture["caption"] for picture in figure["pictures"]] == ["a dog"]
    assert figure["pictures"][0]["address"].startswith("data:image/png") and first.context == second.context


def test_other_runs_have_no_such_section():
    assert translation(run(samples={"sample_id": np.array([1]), "losses": np.array([1.0])})) is None
    assert translation(run(gallery={})).context["figures"] == []
