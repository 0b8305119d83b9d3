"""Beam search against exhaustive search, greedy decoding and the example of the notes."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from components.decoding.beam import Beam, beam_search

PAD, BOS, EOS = 0, 1, 2
VOCABULARY, LONGEST = 5, 4


def options(size: int, penalty: float = 0.0, longest: int = LONGEST) -> Beam:
    return Beam(size=size, max_tokens=longest, bos=BOS, eos=EOS, pad=PAD, length_penalty=penalty)


class Table:
    """A model whose next token depends on the row and the last two tokens: random logits. Its state is the token before the last."""

    def __init__(self, rows: int, seed: int) -> None:
        self.logits = 1.5 * torch.randn(rows, VOCABULARY, VOCABULARY, VOCABULARY, generator=torch.Generator().manual_seed(seed))

    def start(self) -> tuple[dict, dict]:
        rows = torch.arange(len(self.logits))
        return {"row": rows}, {"before": torch.full_like(rows, PAD)}

    def step(self, tokens, memory, state):
        return self.logits[memory["row"], state["before"], tokens], {"before": tokens}

    def log_p(self, row: int, sequence: tuple[int, ...]) -> float:
        before, last, total = PAD, BOS, 0.0
        for token in sequence:
            total += float(self.logits[row, before, last].log_softmax(0)[token])
            before, last = last, token
        return total


def sequences():
    for length in range(1, LONGEST + 1):
        for body in itertools.product([t for t in range(VOCABULARY) if t != EOS], repeat=length - 1):
            yield (*body, EOS)


@pytest.mark.parametrize("penalty", [0.0, 0.6, 2.0])
def test_a_wide_beam_finds_the_best_of_all_sequences_and_a_narrow_one_none_better(penalty):
    model = Table(rows=6, seed=0)
    wide = 4**LONGEST  # prefixes of tokens that do not end
    tokens, scores = beam_search(model.step, *model.start(), 6, options(wide, penalty))
    narrow = [beam_search(model.step, *model.start(), 6, options(size, penalty)) for size in (1, 2, 4)]
    for row in range(6):
        ranked = sorted(sequences(), key=lambda s: -model.log_p(row, s) / options(1, penalty).penalty(len(s)))
        best = ranked[0]
        assert tokens[row].tolist() == [*best, *[PAD] * (LONGEST - len(best))]
        assert float(scores[row]) == pytest.approx(model.log_p(row, best) / ((5 + len(best)) / 6) ** penalty, rel=1e-5)
        assert all(float(value[row]) <= float(scores[row]) + 1e-6 for found, value in narrow if EOS in found[row])


def test_a_beam_of_one_is_greedy():
    model = Table(rows=40, seed=3)
    tokens, _ = beam_search(model.step, *model.start(), 40, options(1, penalty=1.0))
    for row in range(40):
        written, before, last = [], PAD, BOS
        while len(written) < LONGEST and EOS not in written:
            before, last = last, int(model.logits[row, before, last].argmax())
            written.append(last)
        assert tokens[row].tolist() == [*written, *[PAD] * (LONGEST - len(written))]


def test_two_hypotheses_find_what_the_greedy_one_misses():
    """Notes 002 L4250-4256: the likelier first word leads to unlikely sentences."""
    apples, those, good, bad = 3, 4, 5, 6
    logits = torch.full((8, 8), -math.inf)
    logits[BOS, apples], logits[BOS, those] = math.log(0.6), math.log(0.4)
    logits[apples, [good, bad, PAD]] = torch.tensor([0.4, 0.3, 0.3]).log()
    logits[those, good] = 0.0
    logits[[good, bad, PAD], EOS] = 0.0

    def step(tokens, memory, state):
        return logits[tokens], state

    found = {size: beam_search(step, {"row": torch.zeros(1)}, {}, 1, options(size)) for size in (1, 2)}
    assert found[1][0].tolist() == [[apples, good, EOS, PAD]] and math.exp(found[1][1]) == pytest.approx(0.24)
    assert found[2][0].tolist() == [[those, good, EOS, PAD]] and math.exp(found[2][1]) == pytest.approx(0.4)


def test_a_row_does_not_depend_on_its_batch():
    model = Table(rows=9, seed=5)
    together, scores = beam_search(model.step, *model.start(), 9, options(3, 0.6))
    for row in range(9):
        alone = beam_search(model.step, {"row": torch.tensor([row])}, {"before": torch.tensor([PAD])}, 1, options(3, 0.6))
        assert torch.equal(alone[0][0], together[row]) and torch.equal(alone[1][0], scores[row])


def test_a_row_that_never_ends_gives_its_best_prefix():
    logits = torch.tensor([-9.0, -9.0, -math.inf, 0.0, -1.0])

    def step(tokens, memory, state):
        return logits.expand(len(tokens), -1), state

    tokens, scores = beam_search(step, {"row": torch.zeros(2)}, {}, 2, options(2, penalty=1.0))
    assert tokens.tolist() == [[3] * LONGEST] * 2
    assert float(scores[0]) == pytest.approx(4 * float(logits.log_softmax(0)[3]) / 1.5)


def test_a_length_penalty_makes_sentences_longer():
    model = Table(rows=60, seed=7)
    lengths = [(beam_search(model.step, *model.start(), 60, options(4, penalty))[0] != PAD).sum() for penalty in (0.0, 3.0)]
    assert lengths[0] < lengths[1]
