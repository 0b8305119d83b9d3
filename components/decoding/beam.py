"""Beam search over the sentences that a model can write (notes 002 L4248-4268; scores: Wu et al. 2016, "Google's neural machine translation").

Legend: B rows, K hypotheses of a row, V vocabulary, L longest sequence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
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
    """K of each row, the best first."""

    tokens: Tensor  # (B, K, t) without bos
    scores: Tensor  # (B, K); -inf: there is none


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
    device, size = _device(memory), beam.size
    memory = {name: value.repeat_interleave(size, 0) for name, value in memory.items()}
    state = {name: value.repeat_interleave(size, 0) for name, value in state.items()}
    live = _Hypotheses(torch.empty(rows, size, 0, dtype=torch.int64, device=device), torch.full((rows, size), -math.inf, device=device))
    live.scores[:, 0] = 0.0  # one empty prefix
    finished = _Hypotheses(torch.full((rows, size, beam.max_tokens), beam.pad, device=device), torch.full((rows, size), -math.inf, device=device))
    last = torch.full((rows, size), beam.bos, device=device)
    for length in range(1, beam.max_tokens + 1):
        logits, state = step(last.flatten(), memory, state)
        log_p = live.scores[..., None] + logits.float().log_softmax(dim=1).reshape(rows, size, -1)
        scores, places = log_p.flatten(1).topk(2 * size)
        parents, tokens = places // log_p.shape[2], places % log_p.shape[2]
        ends = tokens == beam.eos
        longer = torch.cat([live.tokens.gather(1, parents[..., None].expand(-1, -1, length - 1)), tokens[..., None]], dim=2)
        may_end = ends & (torch.arange(scores.shape[1], device=device) < size) & ~_done(finished)[:, None]
        finished = _merge(finished, longer, (scores / beam.penalty(length)).masked_fill(~may_end, -math.inf), beam)
        if bool(_done(finished).all()):
            break
        live_scores, chosen = scores.masked_fill(ends, -math.inf).topk(size)
        live = _Hypotheses(longer.gather(1, chosen[..., None].expand(-1, -1, length)), live_scores)
        last = live.tokens[:, :, -1]
        origin = (parents.gather(1, chosen) + size * torch.arange(rows, device=device)[:, None]).flatten()
        if size > 1:
            state = {name: value.index_select(0, origin) for name, value in state.items()}
    cut = _merge(_nothing_like(finished), live.tokens, live.scores / beam.penalty(beam.max_tokens), beam)
    none = finished.scores[:, :1] == -math.inf
    return torch.where(none, cut.tokens[:, 0], finished.tokens[:, 0]), torch.where(none[:, 0], cut.scores[:, 0], finished.scores[:, 0])


def _device(memory: State) -> torch.device:
    return next(iter(memory.values())).device


def _done(finished: _Hypotheses) -> Tensor:
    """Which rows have K finished ones, (B,) bool."""
    return (finished.scores > -math.inf).all(dim=1)


def _merge(finished: _Hypotheses, tokens: Tensor, scores: Tensor, beam: Beam) -> _Hypotheses:
    """Keep the best K of what is there and what comes, (B, n, t) and (B, n)."""
    padded = torch.nn.functional.pad(tokens, (0, beam.max_tokens - tokens.shape[2]), value=beam.pad)
    best, chosen = torch.cat([finished.scores, scores], dim=1).topk(beam.size)
    everything = torch.cat([finished.tokens, padded], dim=1)
    return _Hypotheses(everything.gather(1, chosen[..., None].expand(-1, -1, beam.max_tokens)), best)


def _nothing_like(finished: _Hypotheses) -> _Hypotheses:
    return _Hypotheses(finished.tokens, torch.full_like(finished.scores, -math.inf))
