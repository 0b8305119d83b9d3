"""n-grams with add-one smoothing (notes 002 M9, L3978-4043): a language model that is a table of counts.

Dimensions: B batch, T tokens of a sequence, V vocabulary, n order.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MOST_COUNTS = 2**26  # 256 MiB


class NGram(nn.Module):
    """`p(x | the n - 1 tokens before) = (count(before, x) + 1) / (count(before) + V)`: a model without parameters, with counts as its buffer.

    Where fewer than n - 1 tokens stand before, nothing was counted and every token has 1 / V.

    Args:
        vocab_size: V.
        order: n; 1 is single tokens.

    Raises:
        ValueError: order is below 1, or the table would be larger than 2^26 counts.
    """

    counts: Tensor

    def __init__(self, vocab_size: int, order: int) -> None:
        super().__init__()
        if order < 1 or vocab_size**order > MOST_COUNTS:
            raise ValueError(f"order must be 1 or more and vocab_size ** order at most {MOST_COUNTS}, received {vocab_size} ** {order}")
        self.vocab_size, self.order = vocab_size, order
        self.register_buffer("counts", torch.zeros(vocab_size ** (order - 1), vocab_size, dtype=torch.int32))

    def count(self, tokens: Tensor, last: int) -> None:
        """Count the n-grams that end in one of the last so many tokens of each row, `(B, T)` int64, `last` at most T - n + 1."""
        before = self._before(tokens)[:, -last - 1 : -1]
        places = (before * self.vocab_size + tokens[:, -last:]).flatten()
        self.counts.view(-1).index_add_(0, places, torch.ones_like(places, dtype=torch.int32))

    def forward(self, inputs: Tensor) -> Tensor:
        """Tokens (B, T) int64 -> logits (B, T, V), which are log-probabilities, float32."""
        found = self.counts[self._before(inputs)].double()
        found[:, : max(self.order - 2, 0)] = 0.0
        return ((found + 1) / (found.sum(dim=-1, keepdim=True) + self.vocab_size)).log().float()

    def _before(self, tokens: Tensor) -> Tensor:
        """The row of the table for what comes after each place: the number whose digits are the last n - 1 tokens, (B, T) -> (B, T)."""
        rows = torch.zeros_like(tokens)
        for back in reversed(range(self.order - 1)):
            rows = rows * self.vocab_size + F.pad(tokens, (back, 0))[:, : tokens.shape[1]]
        return rows
