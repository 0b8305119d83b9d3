"""Sampling text from a language model, token by token (notes 002 M41 L3573, M9).

Every choice is a function of the model and of given uniform numbers, so that samples can be drawn again.
Legend: B sequences, P tokens of a prompt, L sampled tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Sampling:
    """How logits become the probabilities that are drawn from: first the temperature, then top-k, then top-p.

    Args:
        temperature: logits are divided by it; 0 is its limit, greedy: the likeliest token, of equal ones the first.
        top_k: only so many of the likeliest tokens are drawn; of equal ones the first (Fan, Lewis and Dauphin 2018). None: all.
        top_p: only the smallest set of likeliest tokens that has this probability (nucleus; Holtzman et al. 2020). 1: all.

    Raises:
        ValueError: a number out of range.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if self.temperature < 0 or (self.top_k is not None and self.top_k < 1) or not 0 < self.top_p <= 1:
            raise ValueError(f"sampling needs temperature >= 0, top_k >= 1 and 0 < top_p <= 1, received {self}")

    def probabilities(self, logits: Tensor) -> Tensor:
        """Logits `(..., V)` of any floating type -> probabilities `(..., V)` float64 that sum to 1."""
        if self.temperature == 0:
            return F.one_hot(logits.argmax(dim=-1), logits.shape[-1]).double()
        ordered, order = (logits.double() / self.temperature).softmax(dim=-1).sort(dim=-1, descending=True, stable=True)
        if self.top_k is not None:
            ordered = _normalised(ordered.masked_fill(torch.arange(ordered.shape[-1], device=logits.device) >= self.top_k, 0.0))
        if self.top_p < 1:
            before = F.pad(ordered.cumsum(dim=-1)[..., :-1], (1, 0))  # probability of the tokens that are likelier
            ordered = _normalised(ordered.masked_fill(before >= self.top_p, 0.0))
        return torch.zeros_like(ordered).scatter(-1, order, ordered)


def _normalised(weights: Tensor) -> Tensor:
    return weights / weights.sum(dim=-1, keepdim=True)


def draw(probabilities: Tensor, uniforms: Tensor) -> Tensor:
    """Return the first class whose cumulated probability exceeds the uniform number, `(B, V)`, `(B,)` in [0, 1) -> `(B,)` int64.

    A class of probability 0 is never drawn.
    """
    cumulated = probabilities.double().cumsum(dim=-1)
    # Scaled by the sum, which rounding may leave below 1: else a number above it would draw no class at all.
    return torch.searchsorted(cumulated, (uniforms.double() * cumulated[:, -1])[:, None], right=True).squeeze(1)


@torch.no_grad()
def generate(model: nn.Module, prompt: Tensor, uniforms: Tensor, probabilities: Callable[[Tensor], Tensor], context: int) -> Tensor:
    """Return continuations of prompts, `(B, P)` int64 and `(B, L)` in [0, 1) -> `(B, L)` int64.

    Args:
        model: in evaluation mode; tokens `(B, T)` to logits `(B, T, V)`, or tokens and a state to `(logits, state)` (the task
            NextToken's). A model with a state is given each token once, one without is given the last ones anew.
        prompt: at least one token each.
        uniforms: a number for each token that is to be drawn.
        probabilities: logits `(B, V)` -> probabilities `(B, V)`, such as `Sampling().probabilities`.
        context: the most tokens that the model is given at once.
    """
    tokens, new, state = prompt, prompt[:, -context:], None
    for place in range(uniforms.shape[1]):
        found = model(new) if state is None else model(new, state)
        logits, state = found if isinstance(found, tuple) else (found, None)
        chosen = draw(probabilities(logits[:, -1]), uniforms[:, place])[:, None]
        tokens = torch.cat([tokens, chosen], dim=1)
        new = tokens[:, -context:] if state is None else chosen
    return tokens[:, prompt.shape[1] :]
