"""BLEU against the formula and sacreBLEU itself; the same numbers on any number of ranks."""

from __future__ import annotations

import math

import pytest
import sacrebleu
import torch

from components.errors import RunError
from components.metrics.translation import Translation

WORDS = ["", "the", "cat", "is", "on", "mat", "there", "a", "dog", "."]
REFERENCES = ["The cat is on the mat.", "There is a cat.", "A dog on the mat – ja."]
GREEDY = [[1, 2, 3, 4, 1, 5, 9], [6, 3, 7, 2, 9], [7, 8, 4, 1, 5]]
BEAM = [[1, 1, 1, 1, 1, 1, 1], [6, 3, 1, 2, 9], [7, 8, 4, 1, 5]]


def sentence(tokens) -> str:
    return " ".join(WORDS[t] for t in tokens if t)


def fill(metric: Translation, ids: list[int], losses: list[float] | None = None) -> Translation:
    encoded = [REFERENCES[i].encode() for i in ids]
    longest = max(len(GREEDY[i]) for i in ids)
    outputs = {
        "losses": torch.tensor(losses or [0.1 * (i + 1) for i in ids]),
        "tokens": torch.tensor([len(GREEDY[i]) for i in ids]),
        "hits": torch.tensor([i + 1 for i in ids]),
        "greedy": torch.tensor([GREEDY[i] + [0] * (longest - len(GREEDY[i])) for i in ids]),
        "beam": torch.tensor([BEAM[i] + [0] * (longest - len(BEAM[i])) for i in ids]),
    }
    offsets = torch.tensor([0, *[len(e) for e in encoded]]).cumsum(0)
    batch = {"sample_id": torch.tensor(ids), "reference": torch.tensor(list(b"".join(encoded)), dtype=torch.uint8), "reference.offsets": offsets}
    metric.update(outputs, batch)
    return metric


@pytest.fixture
def scores():
    metric = fill(Translation(sentence), [0, 1, 2])
    return metric.compute([metric.state()])


def test_bleu_is_sacrebleus(scores):
    for name, rows in (("bleu_greedy", GREEDY), ("bleu_beam", BEAM)):
        expected = sacrebleu.corpus_bleu([sentence(row) for row in rows], [REFERENCES], lowercase=True)
        assert scores[name] == expected.score
    assert "case:lc" in scores["signature"] and "tok:13a" in scores["signature"]


def test_bleu_is_the_formula(scores):
    """Papineni et al. 2002, section 2.3; the words of the greedy translations are 17, of the references 20 ("– ja ." is missing)."""
    precisions = [17 / 17, 14 / 14, 11 / 11, 8 / 8]
    brevity = math.exp(1 - 20 / 17)
    assert scores["bleu_greedy"] == pytest.approx(100 * brevity * math.prod(precisions) ** 0.25)
    assert [row["greedy"] for row in scores["precisions"]] == pytest.approx([100.0] * 4)


def test_a_word_counts_no_more_often_than_in_the_reference():
    """The paper's example: "the" seven times against "The cat is on the mat" has 2 of 7 unigrams."""
    metric = fill(Translation(sentence), [0])
    assert metric.compute([metric.state()])["precisions"][0]["beam"] == pytest.approx(100 * 2 / 7)


def test_a_perfect_translation_has_100():
    metric = Translation(lambda row: REFERENCES[1])
    fill(metric, [1])
    assert metric.compute([metric.state()])["bleu_beam"] == pytest.approx(100.0)


def test_every_token_counts_the_same(scores):
    assert scores["nats_per_token"] == pytest.approx((0.1 * 7 + 0.2 * 5 + 0.3 * 5) / 17)
    assert scores["accuracy"] == 6 / 17 and scores["tokens"] == 17 and scores["samples"] == 3


def test_any_number_of_ranks_gives_the_same_numbers(scores):
    parts = [fill(Translation(sentence), ids) for ids in ([2], [1], [0])]
    states = [part.state() for part in (*parts, Translation(sentence))]  # the last rank saw nothing
    assert parts[0].compute(states) == scores


def test_a_loss_that_is_no_number_names_the_sentence():
    metric = fill(Translation(sentence), [0, 1, 2], losses=[0.1, math.nan, 0.1])
    with pytest.raises(RunError, match="sample_id 1"):
        metric.compute([metric.state()])
