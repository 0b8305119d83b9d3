"""The Transformer for translation (Vaswani et al. 2017, "Attention is all you need"; notes 000/001 M07, 002 M48, 003 R14, 004 M30).

Dimensions: B sentences, S source tokens, T target tokens, V vocabulary, D hidden, A attention heads.

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

State = dict[str, Tensor]


class Transformer(nn.Module):
    """Encoder and decoder, sinusoidal positions, and the target embedding again as output (the paper's section 3.4; Press and Wolf 2017).

    The paper's base model has 6 layers of `EncoderLayer(8, 512, 2048, .1)`, 3,152,384 parameters each, and `DecoderLayer`, 4,204,032 each.
    Attention weights are not dropped, nor are they in the paper: the fused kernels would draw from torch's generator.

    Args:
        vocab_size: V, of either language.
        max_tokens: the longest sentence.
        layers: of the encoder, and of the decoder.
        heads: A; it divides D.
        hidden_dim: D, even.
        feedforward_dim: of the layer between the two of each position-wise network.
        dropout: probability, of the embeddings and of what each sublayer adds.
        shared_vocabulary: both languages have the same tokens, and so one embedding.

    Raises:
        ValueError: heads does not divide hidden_dim, hidden_dim is odd, or dropout is out of range.
    """

    positions: Tensor

    def __init__(
        self,
        vocab_size: int,
        max_tokens: int,
        layers: int,
        heads: int,
        hidden_dim: int,
        feedforward_dim: int,
        dropout: float = 0.1,
        shared_vocabulary: bool = True,
    ) -> None:
        super().__init__()
        if hidden_dim % heads or hidden_dim % 2:
            raise ValueError(f"hidden_dim must be even and a multiple of heads, received heads={heads}, hidden_dim={hidden_dim}")
        languages = ["target"] if shared_vocabulary else ["source", "target"]
        self.embedding = nn.ModuleDict({language: nn.Embedding(vocab_size, hidden_dim) for language in languages})
        self.register_buffer("positions", sinusoids(max_tokens, hidden_dim), persistent=False)
        self.source_dropout, self.target_dropout = Dropout(dropout), Dropout(dropout)
        self.encoder = nn.ModuleList(EncoderLayer(heads, hidden_dim, feedforward_dim, dropout) for _ in range(layers))
        self.decoder = nn.ModuleList(DecoderLayer(heads, hidden_dim, feedforward_dim, dropout) for _ in range(layers))
        self._initialise(hidden_dim)

    def _initialise(self, hidden_dim: int) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=hidden_dim**-0.5)  # `embed` scales it to deviation 1, beside sinusoids

    def layers(self) -> list[nn.Module]:
        """From the embeddings to the last norm; every parameter lies in exactly one."""
        return [self.embedding, *self.encoder, *self.decoder]

    def forward(self, source: Tensor, source_mask: Tensor, target: Tensor, places: Tensor | None = None) -> Tensor:
        """Predict each target token's successor from it, those before it and the whole source.

        Padding stands at the end of a row and changes nothing: the source's is masked, the target's lies behind all that counts.

        Args:
            source: (B, S) int64.
            source_mask: (B, S) bool, false where padded; a row has one token at least.
            target: (B, T) int64.
            places: (B, T) bool: only these are wanted.

        Returns:
            Logits (B, T, V), or (number of places, V), row after row.

        Raises:
            ValueError: a sentence is longer than max_tokens.
        """
        encoded = self.encode(source, source_mask)
        hidden = self.target_dropout(self.embed(target, "target"))
        for layer in self.decoder:
            hidden = layer(hidden, encoded, source_mask)
        return self._logits(hidden if places is None else hidden[places])

    def encode(self, source: Tensor, source_mask: Tensor) -> Tensor:
        """(B, S), (B, S) -> (B, S, D)."""
        hidden = self.source_dropout(self.embed(source, "source"))
        for layer in self.encoder:
            hidden = layer(hidden, source_mask)
        return hidden

    def embed(self, tokens: Tensor, language: str, first: int = 0) -> Tensor:
        """Tokens (B, T) whose first stands at place `first` -> (B, T, D): `sqrt(D) * embedding + position`."""
        last = first + tokens.shape[1]
        if last > len(self.positions):
            raise ValueError(f"a sentence has {last} tokens, the model's max_tokens is {len(self.positions)}")
        table = self.embedding[language if language in self.embedding else "target"]
        embedded: Tensor = table(tokens) * math.sqrt(self.positions.shape[1]) + self.positions[first:last]
        return embedded

    def start(self, source: Tensor, source_mask: Tensor) -> tuple[State, State]:
        """Return what decoding token by token needs: what is the sentence's, and what is the empty prefix's; (B, ...) each."""
        encoded = self.encode(source, source_mask)
        memory, state = {"mask": source_mask}, {}
        for i, layer in enumerate(self.decoder):
            memory[f"{i}.keys"], memory[f"{i}.values"] = layer.cross.keys_and_values(encoded)
            state[f"{i}.keys"], state[f"{i}.values"] = layer.attention.keys_and_values(encoded[:, :0])
        return memory, state

    def step(self, tokens: Tensor, memory: State, state: State) -> tuple[Tensor, State]:
        """Read one more token of each prefix: (B,) int64 -> logits (B, V) of the next, and the state with keys and values of this one added."""
        read, after = state["0.keys"].shape[2], {}
        hidden = self.embed(tokens[:, None], "target", first=read)
        for i, layer in enumerate(self.decoder):
            keys, values = layer.attention.keys_and_values(hidden)
            after[f"{i}.keys"] = torch.cat([state[f"{i}.keys"], keys], dim=2)
            after[f"{i}.values"] = torch.cat([state[f"{i}.values"], values], dim=2)
            hidden = layer.step(hidden, (after[f"{i}.keys"], after[f"{i}.values"]), (memory[f"{i}.keys"], memory[f"{i}.values"]), memory["mask"])
        return self._logits(hidden[:, 0]), after

    def alignment(self, source: Tensor, source_mask: Tensor, target: Tensor) -> Tensor:
        """Return how much each target place looks at each source token in the last layer's attention to the encoder: (B, A, T, S)."""
        encoded, hidden = self.encode(source, source_mask), self.embed(target, "target")
        for layer in self.decoder[:-1]:  # type: ignore[index]
            hidden = layer(hidden, encoded, source_mask)
        last = self.decoder[-1]
        weights: Tensor = last.cross.weights(last.attend_to_prefix(hidden), encoded, source_mask)  # type: ignore[union-attr,operator]
        return weights

    def _logits(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.embedding["target"].weight)  # type: ignore[arg-type]


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
        """Look from each place of the inputs at keys and values.

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
        return projected.unflatten(2, (self.heads, -1)).transpose(1, 2)


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
