"""n-grams against a count by hand; notes 002 M9 and T36."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch

from components.models.language.ngram import NGram


def text(length: int = 203, seed: int = 0) -> list[int]:
    return torch.randint(4, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_probabilities_are_add_one_counts(order):
    """Rows of 2 blocks every block, the last block of each counted: every n-gram after the first block once."""
    tokens, block = text(), 10
    model = NGram(4, order)
    rows = torch.tensor(tokens)[:200].unfold(0, 2 * block, block)
    for part in rows.split(7):
        model.count(part, block)
    grams = Counter(tuple(tokens[end - order : end]) for end in range(block + 1, 201))
    before = Counter(gram[:-1] for gram in grams.elements())
    assert int(model.counts.sum()) == 190
    held_out = torch.tensor([text(30, seed=1)])
    found = model(held_out)[0].double().exp()
    for place in range(order - 1, 29):
        history = tuple(held_out[0, place + 2 - order : place + 1].tolist()) if order > 1 else ()
        expected = [(grams[(*history, x)] + 1) / (before[history] + 4) for x in range(4)]
        assert found[place].tolist() == pytest.approx(expected, rel=1e-6)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(30, dtype=torch.float64), rtol=1e-6, atol=0)  # T36


def test_without_enough_tokens_before_it_knows_nothing():
    model = NGram(4, 4)
    model.count(torch.tensor([text()]), 100)
    assert model(torch.tensor([[1, 2, 3, 0]]))[0, :2].exp().flatten().tolist() == pytest.approx([0.25] * 8)


def test_an_uncounted_model_is_uniform():
    assert NGram(5, 2)(torch.tensor([[0, 3]])).flatten().tolist() == pytest.approx([-math.log(5)] * 10)


@pytest.mark.parametrize("order", [0, 5])
def test_orders_out_of_range_are_refused(order):
    with pytest.raises(ValueError, match="order must be"):
        NGram(65, order)
