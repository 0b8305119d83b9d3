"""Draws: the published generator, uniform, uncorrelated, and a function of the sample alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from components.data.draws import Draws, splitmix64

IDS = torch.arange(20_000)


def test_the_words_are_those_of_splitmix64():
    # The published outputs for the seed 1234567 (Vigna's splitmix64.c; Rosetta Code lists them).
    words = splitmix64(1234567, torch.arange(5))
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    assert [word % 2**64 for word in words.tolist()] == expected


def test_keys_of_many_names_are_the_streams_of_each():
    draws = Draws(3, 2, torch.arange(10))
    keys = draws.keys(["a", "b"])
    assert keys.shape == (2, 10) and keys.dtype == torch.int64
    assert torch.equal(keys[1], draws.keys(["b"])[0]) and not torch.equal(keys[0], keys[1])
    # The words of a key are what every other draw is made of: uniform takes their upper 24 bits.
    upper = (draws.words(keys[0], 4) >> 40) & (2**24 - 1)
    assert torch.equal(draws.uniform("a", 4), upper / 2**24)


def test_the_words_of_a_key_are_those_of_splitmix64():
    assert Draws.words(torch.tensor([1234567, 5]), 3).shape == (2, 3)
    assert Draws.words(torch.tensor([1234567]), 2).tolist() == [[6457827717110365317, 3203168211198807973]]


@pytest.mark.parametrize("draw", ["uniform", "normal", "integers"])
def test_a_sample_draws_the_same_in_any_batch(draw):
    def values(ids: torch.Tensor) -> torch.Tensor:
        return getattr(Draws(3, 2, ids), draw)("noise", *((0, 1000) if draw == "integers" else ()), 4, 5)

    whole, order = values(torch.arange(100)), torch.randperm(100, generator=torch.Generator().manual_seed(0))
    assert whole.shape == (100, 4, 5)
    assert torch.equal(values(order), whole[order])
    assert torch.equal(values(torch.tensor([42])), whole[42:43])


@pytest.mark.parametrize("other", [Draws(1, 0, IDS), Draws(0, 1, IDS), Draws(0, 0, IDS + len(IDS))], ids=["seed", "epoch", "samples"])
def test_seed_epoch_and_sample_change_the_numbers(other):
    mine, others = Draws(0, 0, IDS).uniform("x"), other.uniform("x")
    assert not torch.equal(mine, others)
    assert abs(np.corrcoef(mine, others)[0, 1]) < 4 / len(IDS) ** 0.5


def test_names_are_streams_of_their_own():
    draws = Draws(0, 0, IDS)
    assert abs(np.corrcoef(draws.uniform("a"), draws.uniform("b"))[0, 1]) < 4 / len(IDS) ** 0.5
    assert torch.equal(draws.uniform("a"), draws.uniform("a"))


def test_uniform_is_uniform_over_samples_and_over_positions():
    over_samples, over_positions = Draws(0, 0, IDS).uniform("x"), Draws(0, 0, torch.tensor([5])).uniform("x", 20_000)[0]
    for values in (over_samples, over_positions):
        assert values.dtype == torch.float32 and values.min() >= 0 and values.max() < 1
        assert stats.kstest(values.numpy(), "uniform").pvalue > 1e-3


def test_uniform_never_reaches_one():
    # The largest value is (2^24 - 1) / 2^24, exact in float32.
    assert Draws._fraction(torch.tensor([-1])).item() == 1 - 2**-24
    assert Draws._fraction(torch.tensor([0])).item() == 0


def test_positions_and_neighbouring_samples_are_uncorrelated():
    values = Draws(0, 0, IDS).uniform("x", 8).numpy()
    correlations = np.corrcoef(values, rowvar=False) - np.eye(8)
    assert np.abs(correlations).max() < 4.5 / len(IDS) ** 0.5
    assert abs(np.corrcoef(values[1:, 0], values[:-1, 0])[0, 1]) < 4 / len(IDS) ** 0.5


def test_normal_is_normal():
    values = Draws(0, 0, IDS).normal("x").numpy()
    assert values.dtype == np.float32 and np.isfinite(values).all()
    assert stats.kstest(values, "norm").pvalue > 1e-3


@pytest.mark.parametrize(("low", "high"), [(-2, 3), (0, 10), (5, 6), (0, 2**31 - 1)])
def test_integers_are_in_range_and_equally_frequent(low, high):
    values = Draws(0, 0, IDS).integers("x", low, high)
    assert values.dtype == torch.int64 and values.min() >= low and values.max() < high
    cells = min(high - low, 10)
    counts = np.bincount((values.numpy() - low) * cells // (high - low), minlength=cells)
    assert cells == 1 or stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize(("low", "high"), [(0, 0), (3, 1), (0, 2**31)])
def test_an_empty_or_too_wide_range_is_refused(low, high):
    with pytest.raises(ValueError, match="low"):
        Draws(0, 0, IDS).integers("x", low, high)
