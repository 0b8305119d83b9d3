"""The layers of the Transformer (Vaswani et al. 2017, sections 3.1 to 3.5; notes 000/001 M07, 002 M48, 004 M30); transformer.py puts them together.

Dimensions: B sentences, S source tokens, T target tokens, D hidden, A attention heads.

Each sublayer is `norm(x + dropout(f(x)))`, the paper's order and that of 000/001; 004 prints `x + norm(f(x))` and leaves out the decoder's third
norm (erratum 004 E27). In the decoder's second attention the queries are the decoder's, keys and values the encoder's; 002 L4334 gives the
encoder keys and queries (erratum 002 E26).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.layers.dropout import Dropout


class EncoderLayer(nn.Module):
    """Attention of the source to itself, then a network at each place.

    Args:
        heads: A.
        hidden_dim: D.
        feedforward_dim: of the layer in between.
        dropout: probability, of what each sublayer adds.
    """

    def __init__(self, heads: int, hidden_dim: int, feedforward_dim: int, dropout: float) -> None:
        super().__init__()
        self.attention, self.attention_norm = Attention(heads, hidden_dim), nn.LayerNorm(hidden_dim)
        self.feedforward, self.feedforward_norm = FeedForward(hidden_dim, feedforward_dim), nn.LayerNorm(hidden_dim)
        self.attention_dropout, self.feedforward_dropout = Dropout(dropout), Dropout(dropout)

    def forward(self, inputs: Tensor, mask: Tensor) -> Tensor:
        """(B, S, D), (B, S) bool -> (B, S, D)."""
        attended = self.attention(inputs, self.attention.keys_and_values(inputs), mask)
        hidden = self.attention_norm(inputs + self.attention_dropout(attended))
        out: Tensor = self.feedforward_norm(hidden + self.feedforward_dropout(self.feedforward(hidden)))
        return out


class DecoderLayer(nn.Module):
    """Attention of the target to what stands before, attention to the encoded source, then a network at each place.

    Args: as `EncoderLayer`'s.
    """

    def __init__(self, heads: int, hidden_dim: int, feedforward_dim: int, dropout: float) -> None:
        super().__init__()
        self.attention, self.attention_norm = Attention(heads, hidden_dim), nn.LayerNorm(hidden_dim)
        self.cross, self.cross_norm = Attention(heads, hidden_dim), nn.LayerNorm(hidden_dim)
        self.feedforward, self.feedforward_norm = FeedForward(hidden_dim, feedforward_dim), nn.LayerNorm(hidden_dim)
        self.attention_dropout, self.cross_dropout, self.feedforward_dropout = Dropout(dropout), Dropout(dropout), Dropout(dropout)

    def forward(self, inputs: Tensor, encoded: Tensor, mask: Tensor) -> Tensor:
        """(B, T, D), (B, S, D), (B, S) bool -> (B, T, D)."""
        return self._look_at_source(self.attend_to_prefix(inputs), self.cross.keys_and_values(encoded), mask)

    def attend_to_prefix(self, inputs: Tensor) -> Tensor:
        """The first sublayer, (B, T, D) -> (B, T, D)."""
        attended = self.attention(inputs, self.attention.keys_and_values(inputs), causal=True)
        hidden: Tensor = self.attention_norm(inputs + self.attention_dropout(attended))
        return hidden

    def step(self, inputs: Tensor, prefix: tuple[Tensor, Tensor], encoded: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
        """One place, (B, 1, D), with keys and values of the places up to it and of the source -> (B, 1, D)."""
        hidden = self.attention_norm(inputs + self.attention(inputs, prefix))
        return self._look_at_source(hidden, encoded, mask)

    def _look_at_source(self, hidden: Tensor, encoded: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
        hidden = self.cross_norm(hidden + self.cross_dropout(self.cross(hidden, encoded, mask)))
        out: Tensor = self.feedforward_norm(hidden + self.feedforward_dropout(self.feedforward(hidden)))
        return out


class Attention(nn.Module):
    """Multi-head attention: `softmax(Q K^T / sqrt(D / A) + M) V` for each head, M = -inf where nothing may be seen (004 4:1117, 002 M48).

    Args:
        heads: A.
        hidden_dim: D.
    """

    def __init__(self, heads: int, hidden_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.queries, self.keys, self.values = (nn.Linear(hidden_dim, hidden_dim) for _ in range(3))
        self.output = nn.Linear(hidden_dim, hidden_dim)

    def forward(self, inputs: Tensor, seen: tuple[Tensor, Tensor], mask: Tensor | None = None, causal: bool = False) -> Tensor:
        """Look from each place of the inputs at keys and values, `(B, T, D) -> (B, T, D)`.

        Args:
            inputs: (B, T, D).
            seen: keys and values, (B, A, S, D / A) each.
            mask: (B, S) bool, false where nothing may be seen; None: all may.
            causal: place t sees places 0 to t alone.

        Returns:
            (B, T, D).
        """
        allowed = None if mask is None else mask[:, None, None, :]
        mixed = F.scaled_dot_product_attention(self._heads(self.queries(inputs)), *seen, attn_mask=allowed, is_causal=causal)
        out: Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return out

    def keys_and_values(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """(B, S, D) -> twice (B, A, S, D / A)."""
        return self._heads(self.keys(inputs)), self._heads(self.values(inputs))

    def weights(self, inputs: Tensor, encoded: Tensor, mask: Tensor) -> Tensor:
        """The softmax itself: (B, T, D), (B, S, D), (B, S) bool -> (B, A, T, S)."""
        queries, keys = self._heads(self.queries(inputs)), self._heads(self.keys(encoded))
        scores = queries @ keys.transpose(2, 3) / math.sqrt(queries.shape[3])
        return scores.masked_fill(~mask[:, None, None, :], -math.inf).softmax(dim=3)

    def _heads(self, projected: Tensor) -> Tensor:
        rows, length, width = projected.shape
        return projected.reshape(rows, length, self.heads, width // self.heads).transpose(1, 2)


class FeedForward(nn.Module):
    """`max(0, x W1 + b1) W2 + b2` at each place (000 0:199).

    Args:
        hidden_dim: D.
        feedforward_dim: of the layer in between.
    """

    def __init__(self, hidden_dim: int, feedforward_dim: int) -> None:
        super().__init__()
        self.widening, self.narrowing = nn.Linear(hidden_dim, feedforward_dim), nn.Linear(feedforward_dim, hidden_dim)

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        out: Tensor = self.narrowing(F.relu(self.widening(inputs)))
        return out


def sinusoids(length: int, hidden_dim: int) -> Tensor:
    """Return `sin(p / 10000^(2i / D))` at 2i and its cosine at 2i + 1, (length, D) float32 (000 0:203-205; 001's print is garbled)."""
    rates = 10000.0 ** (-torch.arange(0, hidden_dim, 2, dtype=torch.float64) / hidden_dim)
    angles = torch.arange(length, dtype=torch.float64)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1).float()
