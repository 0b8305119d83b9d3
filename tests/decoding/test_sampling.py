"""Sampling against probabilities by hand, frequencies, and a walk through a model by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from components.data.draws import Draws
from components.decoding.sampling import Sampling, draw, generate
from components.models.language.gpt import GPT
from components.models.language.lstm import LSTM

LOGITS = torch.tensor([[0.1, 0.4, 0.2, 0.3], [0.25, 0.25, 0.25, 0.25]]).log()


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(), [[0.1, 0.4, 0.2, 0.3], [0.25] * 4]),
        (Sampling(0.5), [[1 / 30, 16 / 30, 4 / 30, 9 / 30], [0.25] * 4]),  # p ** 2, normalised
        (Sampling(0.0), [[0, 1, 0, 0], [1, 0, 0, 0]]),  # of equal ones the first
        (Sampling(top_k=2), [[0, 4 / 7, 0, 3 / 7], [0.5, 0.5, 0, 0]]),
        (Sampling(top_k=9), [[0.1, 0.4, 0.2, 0.3], [0.25] * 4]),
        (Sampling(top_p=0.6), [[0, 4 / 7, 0, 3 / 7], [1 / 3, 1 / 3, 1 / 3, 0]]),  # 0.4 is too little, 0.4 + 0.3 enough
        (Sampling(top_p=0.01), [[0, 1, 0, 0], [1, 0, 0, 0]]),  # one token at least
        (Sampling(0.5, top_k=3), [[0, 16 / 29, 4 / 29, 9 / 29], [1 / 3, 1 / 3, 1 / 3, 0]]),
        (Sampling(top_k=3, top_p=0.7), [[0, 4 / 7, 0, 3 / 7], [1 / 3, 1 / 3, 1 / 3, 0]]),  # of the three: 4/9, then 7/9 >= 0.7
    ],
    ids=str,
)
def test_probabilities_by_hand(sampling, expected):
    found = sampling.probabilities(LOGITS)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=0)


def test_a_low_temperature_nears_greedy_and_a_high_one_chance():
    torch.testing.assert_close(Sampling(0.01).probabilities(LOGITS[0]), Sampling(0.0).probabilities(LOGITS[0]))
    torch.testing.assert_close(Sampling(1e6).probabilities(LOGITS[0]), torch.full((4,), 0.25, dtype=torch.float64), rtol=1e-5, atol=0)


@pytest.mark.parametrize("options", [{"temperature": -0.1}, {"top_k": 0}, {"top_p": 0.0}, {"top_p": 1.1}])
def test_numbers_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match="sampling needs"):
        Sampling(**options)


def test_a_draw_inverts_the_cumulated_probabilities():
    probabilities = torch.tensor([[0.0, 0.25, 0.0, 0.75]]).expand(6, -1)
    uniforms = torch.tensor([0.0, 0.2499, 0.25, 0.5, 0.9999, 1 - 2.0**-24])
    assert draw(probabilities, uniforms).tolist() == [1, 1, 3, 3, 3, 3]


def test_the_largest_uniform_number_draws_a_class_that_is_possible():
    probabilities = torch.full((1, 1000), 1e-3).index_fill(1, torch.arange(900, 1000), 0.0)  # the sum is 0.9, and rounded
    assert draw(probabilities, torch.tensor([1 - 2.0**-24])).tolist() == [899]


def test_frequencies_are_the_probabilities():
    probabilities = torch.tensor([0.1, 0.4, 0.0, 0.2, 0.3], dtype=torch.float64)
    drawn = draw(probabilities.expand(20_000, -1), Draws(0, 0, torch.arange(20_000)).uniform("x"))
    found = drawn.bincount(minlength=5) / 20_000
    assert found[2] == 0
    assert ((found - probabilities).abs() <= 4 * (probabilities * (1 - probabilities) / 20_000).sqrt()).all()


class Counter(nn.Module):
    """After n comes n + the number of tokens that it was given, modulo 7, for certain."""

    def forward(self, inputs: Tensor) -> Tensor:
        places = torch.arange(1, inputs.shape[1] + 1)
        return nn.functional.one_hot((inputs + places) % 7, 7).double().log()


def test_a_model_without_a_state_is_given_the_last_tokens_anew():
    prompt = torch.tensor([[0, 1], [3, 3]])
    found = generate(Counter(), prompt, torch.zeros(2, 4), Sampling().probabilities, context=3)
    assert found.tolist() == [[3, 6, 2, 5], [5, 1, 4, 0]]  # + 2, then + 3 each


def greedily(model: nn.Module, prompt: Tensor, length: int) -> list[int]:
    tokens = prompt
    for _ in range(length):
        found = model(tokens)
        logits = found[0] if isinstance(found, tuple) else found
        tokens = torch.cat([tokens, logits[:, -1:].argmax(dim=2)], dim=1)
    return tokens[:, prompt.shape[1] :].tolist()


def test_the_state_stands_for_all_tokens_before():
    torch.manual_seed(0)
    model = LSTM(7, embedding_dim=4, hidden_dim=6, layers=2).double()
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    prompt = torch.randint(7, (3, 5))
    assert generate(model, prompt, torch.zeros(3, 20), Sampling(0.0).probabilities, context=5).tolist() == greedily(model, prompt, 20)


def test_a_gpt_in_its_context():
    torch.manual_seed(0)
    model = GPT(7, context_tokens=12, layers=1, heads=2, hidden_dim=8).eval().double()
    prompt = torch.randint(7, (3, 4))
    assert generate(model, prompt, torch.zeros(3, 8), Sampling(0.0).probabilities, context=12).tolist() == greedily(model, prompt, 8)
    assert generate(model, prompt, torch.zeros(3, 30), Sampling(0.0).probabilities, context=12).shape == (3, 30)  # longer than its context


def test_samples_follow_the_model_s_probabilities():
    """A chain of two states: 0 -> 1 with 0.2, 1 -> 0 with 0.6; its stationary share of 1 is 0.2 / 0.8."""

    class Chain(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return torch.tensor([[0.8, 0.2], [0.6, 0.4]], dtype=torch.float64).log()[inputs]

    uniforms = Draws(1, 0, torch.arange(200)).uniform("chain", 60)
    found = generate(Chain(), torch.zeros(200, 1, dtype=torch.int64), uniforms, Sampling().probabilities, context=1)
    assert found[:, 20:].double().mean().item() == pytest.approx(0.25, abs=4 * math.sqrt(0.25 * 0.75 / 4000))
    again = generate(Chain(), torch.zeros(200, 1, dtype=torch.int64), uniforms, Sampling().probabilities, context=1)
    assert torch.equal(found, again)
