"""The metrics of language models against the notes' worked examples, torchmetrics, and themselves on more ranks."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from components.errors import RunError
from components.metrics.language import NextToken

VOCABULARY = 11


def problem(samples: int = 53, length: int = 6) -> tuple[Tensor, Tensor]:
    """Logits (N, T, V) that know something of the tokens (N, T + 1)."""
    generator = torch.Generator().manual_seed(4)
    tokens = torch.randint(VOCABULARY, (samples, length + 1), generator=generator)
    noise = torch.randn(samples, length, VOCABULARY, generator=generator)
    return noise + 2 * torch.nn.functional.one_hot(tokens[:, 1:], VOCABULARY), tokens


def update(metric: NextToken, logits: Tensor, tokens: Tensor, ids: Tensor) -> None:
    losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none").mean(dim=1)
    metric.update({"losses": losses, "predictions": logits.argmax(dim=2)}, {"tokens": tokens, "sample_id": ids})


def dealt(logits: Tensor, tokens: Tensor, world: int, batch_size: int = 8) -> list[dict[str, Tensor]]:
    ranks = [NextToken(VOCABULARY) for _ in range(world)]
    for i, ids in enumerate(torch.arange(len(tokens)).split(batch_size)):
        update(ranks[i % world], logits[ids], tokens[ids], ids)
    return [rank.state() for rank in ranks]


def scores(probabilities: list[float]) -> dict[str, Any]:
    """Of one row whose true tokens had these probabilities."""
    nats = -torch.tensor(probabilities, dtype=torch.float64).log().mean()[None]
    metric = NextToken(VOCABULARY)
    outputs = {"losses": nats, "predictions": torch.zeros(1, len(probabilities), dtype=torch.int64)}
    metric.update(outputs, {"tokens": torch.zeros(1, len(probabilities) + 1, dtype=torch.int64), "sample_id": torch.tensor([0])})
    return metric.compute([metric.state()])


@pytest.mark.parametrize(
    ("probabilities", "bits", "perplexity"),
    [
        ([0.5, 0.5], 1.0, 2.0),  # uniform over {A, B}: 1 bit
        ([1.0, 1.0, 1.0], 0.0, 1.0),  # certain and right
        ([1 / 3] * 4, math.log2(3), 3.0),  # uniform over {A, B, C}
        ([0.1], 3.3219, 10.0),  # the mismatch of R16: -log2 0.1; erratum E25b, not 0.47 + 2.85
        ([1 / VOCABULARY] * 5, math.log2(VOCABULARY), VOCABULARY),  # T37: it knows nothing
        ([0.5, 0.125], 2.0, 4.0),  # (1 / (0.5 * 0.125)) ** (1 / 2)
        ([0.9] * 9 + [0.1], 0.4690, 2**0.468996),  # R16: the entropy of (0.1, 0.9)
    ],
)
def test_bits_and_perplexity_of_the_notes(probabilities, bits, perplexity):
    """Notes 002, L3826-3948 (R16) and T37."""
    found = scores(probabilities)
    assert found["bits_per_token"] == pytest.approx(bits, abs=1e-4)
    assert found["perplexity"] == pytest.approx(perplexity, rel=1e-5)
    assert found["perplexity"] == pytest.approx(2 ** found["bits_per_token"], rel=1e-12)
    assert found["nats_per_token"] == pytest.approx(bits * math.log(2), abs=1e-4)


def test_perplexity_is_that_of_torchmetrics_and_accuracy_a_count():
    logits, tokens = problem()
    found = NextToken(VOCABULARY).compute(dealt(logits, tokens, world=1))
    from torchmetrics.text import Perplexity  # two seconds, of this process alone

    reference = Perplexity()
    reference.update(logits, tokens[:, 1:])
    assert found["perplexity"] == pytest.approx(reference.compute().item(), rel=1e-5)
    hits = sum(int(logits[n, t].argmax()) == int(tokens[n, t + 1]) for n in range(53) for t in range(6))
    assert 0 < hits < 53 * 6
    assert found["accuracy"] == hits / (53 * 6)
    assert (found["tokens"], found["samples"]) == (53 * 6, 53)


@pytest.mark.parametrize("world", [2, 3, 16])
def test_equal_to_the_bit_on_any_number_of_workers(world):
    logits, tokens = problem()
    whole = NextToken(VOCABULARY).compute(dealt(logits, tokens, world=1))
    states = dealt(logits, tokens, world)
    assert world < 16 or any(len(state["sample_id"]) == 0 for state in states)
    assert NextToken(VOCABULARY).compute(states) == whole
    assert json.loads(json.dumps(whole)) == whole  # plain data


def test_every_token_counts_the_same_where_batches_have_another_length():
    """Two rows: 1 token at 4 nats, 3 tokens at 0 nats. The mean over tokens is 1, over rows 2."""
    metric = NextToken(2)
    for row, (length, nats) in enumerate([(1, 4.0), (3, 0.0)]):
        outputs = {"losses": torch.tensor([nats]), "predictions": torch.full((1, length), row)}
        metric.update(outputs, {"tokens": torch.ones(1, length + 1, dtype=torch.int64), "sample_id": torch.tensor([row])})
    found = metric.compute([metric.state()])
    assert found["nats_per_token"] == 1.0
    assert found["accuracy"] == 0.75


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.uint16, torch.int32])
def test_tokens_of_any_integer_type(dtype):
    logits, tokens = problem()
    metric = NextToken(VOCABULARY)
    metric.update({"losses": torch.ones(53), "predictions": logits.argmax(dim=2)}, {"tokens": tokens.to(dtype), "sample_id": torch.arange(53)})
    assert metric.compute([metric.state()])["accuracy"] == NextToken(VOCABULARY).compute(dealt(logits, tokens, 1))["accuracy"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 710.0])
def test_a_loss_without_a_perplexity_ends_the_run(value):
    metric = NextToken(2)
    outputs = {"losses": torch.tensor([0.0, value * 2]), "predictions": torch.zeros(2, 1, dtype=torch.int64)}
    metric.update(outputs, {"tokens": torch.zeros(2, 2, dtype=torch.int64), "sample_id": torch.tensor([3, 8])})
    with pytest.raises(RunError, match="sample_id 8"):
        metric.compute([metric.state()])


def test_faults_of_the_caller_are_found():
    metric = NextToken(2)
    batch = {"tokens": torch.zeros(2, 4, dtype=torch.int64), "sample_id": torch.tensor([0, 1])}
    with pytest.raises(AssertionError):  # predictions of the inputs' length
        metric.update({"losses": torch.zeros(2), "predictions": torch.zeros(2, 4)}, batch)
    with pytest.raises(AssertionError, match=r"outside \[0, 2\)"):
        metric.update({"losses": torch.zeros(2), "predictions": torch.zeros(2, 3)}, {**batch, "tokens": batch["tokens"] + 2})
    with pytest.raises(AssertionError, match="no token"):
        metric.compute([metric.state()])
    metric.update({"losses": torch.zeros(2), "predictions": torch.zeros(2, 3)}, {**batch, "sample_id": torch.tensor([4, 4])})
    with pytest.raises(AssertionError, match="more than once"):
        metric.compute([metric.state()])


def test_what_single_tokens_and_pairs_would_need():
    """0 1 0 1 and so on: 1 bit a token alone, 0 bits given the one before; and the entropies of torch."""
    metric = NextToken(2)
    tokens = torch.arange(9)[None] % 2
    metric.update({"losses": torch.ones(1), "predictions": tokens[:, 1:]}, {"tokens": tokens, "sample_id": torch.tensor([0])})
    found = metric.compute([metric.state()])
    assert (found["unigram_bits"], found["bigram_bits"]) == (1.0, 0.0)
    logits, tokens = problem()
    found = NextToken(VOCABULARY).compute(dealt(logits, tokens, world=2))
    pairs = torch.zeros(VOCABULARY, VOCABULARY, dtype=torch.float64)
    for row in tokens.tolist():
        for before, after in itertools.pairwise(row):
            pairs[before, after] += 1
    pairs /= pairs.sum()
    single = torch.distributions.Categorical(pairs.sum(dim=0)).entropy() / math.log(2)
    conditional = sum(row.sum() * torch.distributions.Categorical(row).entropy() for row in pairs) / math.log(2)
    assert found["unigram_bits"] == pytest.approx(single.item(), rel=1e-12)
    assert found["bigram_bits"] == pytest.approx(conditional.item(), rel=1e-12)


def test_a_large_vocabulary_has_no_table_of_pairs():
    metric = NextToken(50_257)
    tokens = torch.tensor([[7, 50_256]])
    metric.update({"losses": torch.ones(1), "predictions": tokens[:, 1:]}, {"tokens": tokens, "sample_id": torch.tensor([0])})
    assert metric.state()["pairs"].numel() == 0 and "unigram_bits" not in metric.compute([metric.state()])
