"""Beam search over the sentences that a model can write (notes 002 L4248-4268; scores: Wu et al. 2016, "Google's neural machine translation").

Legend: B rows, K hypotheses of a row, V vocabulary, L longest sequence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

State = dict[str, Tensor]


class Step(Protocol):
    """Reads one token of each prefix: tokens (N,) int64, what is known of the row, what is known of the prefix -> logits (N, V), the longer prefix's
    state. Every tensor of both dicts has N as its first axis."""

    def __call__(self, tokens: Tensor, memory: State, state: State) -> tuple[Tensor, State]: ...


@dataclass(frozen=True)
class Beam:
    """How to search.

    Args:
        size: K; 1 is greedy: always the likeliest token.
        length_penalty: alpha of `log p / ((5 + tokens) / 6)^alpha`, the end counted; 0 compares bare probabilities, which favours the short.
        max_tokens: L, the end counted.
        bos: what every prefix starts with; it is not given back.
        eos: ends a sequence.
        pad: fills up the rest.
    """

    size: int
    max_tokens: int
    bos: int
    eos: int
    pad: int
    length_penalty: float = 0.0

    def penalty(self, tokens: int) -> float:
        """What a log probability is divided by."""
        return float(((5 + tokens) / 6) ** self.length_penalty)


@dataclass
class _Hypotheses:
    """Some of each row, the best first."""

    tokens: Tensor  # (B, n, t) without bos
    scores: Tensor  # (B, n); -inf: there is none


@torch.no_grad()
def beam_search(step: Step, memory: State, state: State, rows: int, beam: Beam) -> tuple[Tensor, Tensor]:
    """Return the best sequence of each row that was found.

    Of a row's K V continuations the best 2K are looked at: those among the first K that end are finished, the first K of those that do not are
    gone on with. A row is done with K finished ones (fairseq's rule), so that K = 1 is greedy; with K no smaller than the number of prefixes,
    nothing is lost and the best of all sequences is found. A row that has finished none within L tokens gives its best prefix.

    Args:
        step: the model.
        memory: of each row, (B, ...).
        state: of the empty prefix of each row, (B, ...).
        rows: B.
        beam: sizes and tokens.

    Returns:
        Tokens (B, L) int64, eos and then pad at the end; scores (B,): log probability over penalty.
    """
    device, size = next(iter(memory.values())).device, beam.size
    memory = {name: value.repeat_interleave(size, 0) for name, value in memory.items()}
    state = {name: value.repeat_interleave(size, 0) for name, value in state.items()}
    nothing = _Hypotheses(torch.full((rows, size, beam.max_tokens), beam.pad, device=device), torch.full((rows, size), -math.inf, device=device))
    live, finished = _Hypotheses(nothing.tokens[:, :, :0], nothing.scores.clone()), nothing
    live.scores[:, 0] = 0.0  # one empty prefix
    last = torch.full((rows, size), beam.bos, device=device)
    for _ in range(beam.max_tokens):
        logits, state = step(last.flatten(), memory, state)
        longer, parents = _continuations(live, logits)
        ends = longer.tokens[:, :, -1] == beam.eos
        finished = _merge(finished, longer, _may_end(ends, finished), beam)
        if bool(_done(finished).all()):
            break
        live, chosen = _best(_Hypotheses(longer.tokens, longer.scores.masked_fill(ends, -math.inf)), size)
        last = live.tokens[:, :, -1]
        if size > 1:
            origin = parents.gather(1, chosen) + size * torch.arange(rows, device=device)[:, None]
            state = {name: value.index_select(0, origin.flatten()) for name, value in state.items()}
    cut = _merge(nothing, live, torch.ones_like(live.scores, dtype=torch.bool), beam)
    ended = finished.scores[:, 0] > -math.inf
    return torch.where(ended[:, None], finished.tokens[:, 0], cut.tokens[:, 0]), torch.where(ended, finished.scores[:, 0], cut.scores[:, 0])


def _continuations(live: _Hypotheses, logits: Tensor) -> tuple[_Hypotheses, Tensor]:
    """Return the best 2K of a row's K V continuations, and which hypothesis each goes on with, (B, 2K)."""
    rows, size = live.scores.shape
    log_p = live.scores[..., None] + logits.float().log_softmax(dim=1).reshape(rows, size, -1)
    scores, places = log_p.flatten(1).topk(2 * size)
    parents, tokens = places // log_p.shape[2], places % log_p.shape[2]
    before = live.tokens.gather(1, parents[..., None].expand(-1, -1, live.tokens.shape[2]))
    return _Hypotheses(torch.cat([before, tokens[..., None]], dim=2), scores), parents


def _may_end(ends: Tensor, finished: _Hypotheses) -> Tensor:
    """Which of the 2K continuations are taken as finished, (B, 2K) bool: those among the first K, where the row is not done."""
    first = torch.arange(ends.shape[1], device=ends.device) < finished.scores.shape[1]
    return ends & first & ~_done(finished)[:, None]


def _done(finished: _Hypotheses) -> Tensor:
    """Which rows have K finished ones, (B,) bool."""
    return (finished.scores > -math.inf).all(dim=1)


def _merge(finished: _Hypotheses, others: _Hypotheses, taken: Tensor, beam: Beam) -> _Hypotheses:
    """Keep the best K of what is finished and what is taken of the others, whose scores are log probabilities."""
    length = others.tokens.shape[2]
    padded = F.pad(others.tokens, (0, beam.max_tokens - length), value=beam.pad)
    scores = (others.scores / beam.penalty(length)).masked_fill(~taken, -math.inf)
    everything = _Hypotheses(torch.cat([finished.tokens, padded], dim=1), torch.cat([finished.scores, scores], dim=1))
    return _best(everything, beam.size)[0]


def _best(hypotheses: _Hypotheses, size: int) -> tuple[_Hypotheses, Tensor]:
    """Return the best of each row and their places, (B, size)."""
    scores, chosen = hypotheses.scores.topk(size)
    return _Hypotheses(hypotheses.tokens.gather(1, chosen[..., None].expand(-1, -1, hypotheses.tokens.shape[2])), scores), chosen
