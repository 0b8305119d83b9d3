"""The Transformer for translation (Vaswani et al. 2017, "Attention is all you need"; notes 000/001 M07, 002 M48, 003 R14, 004 M30).

Dimensions: B sentences, S source tokens, T target tokens, V vocabulary, D hidden, A attention heads.
"""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.layers.dropout import Dropout
from components.models.language.transformer_layers import DecoderLayer, EncoderLayer, sinusoids

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
        """Predict each target token's successor from it, those before it and the whole source, `(B, S), (B, T) -> (B, T, V)`.

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
        encoded: Tensor = hidden
        return encoded

    def embed(self, tokens: Tensor, language: str, first: int = 0) -> Tensor:
        """Tokens (B, T) whose first stands at place `first` -> (B, T, D): `sqrt(D) * embedding + position`."""
        last = first + tokens.shape[1]
        if last > len(self.positions):
            raise ValueError(f"a sentence has {last} tokens, the model's max_tokens is {len(self.positions)}")
        table = self._table(language if language in self.embedding else "target")
        embedded: Tensor = table(tokens) * math.sqrt(self.positions.shape[1]) + self.positions[first:last]
        return embedded

    def start(self, source: Tensor, source_mask: Tensor) -> tuple[State, State]:
        """Return what decoding token by token needs: what is the sentence's, and what is the empty prefix's; (B, ...) each."""
        encoded = self.encode(source, source_mask)
        memory, state = {"mask": source_mask}, {}
        for i, layer in enumerate(self._decoder_layers()):
            memory[f"{i}.keys"], memory[f"{i}.values"] = layer.cross.keys_and_values(encoded)
            state[f"{i}.keys"], state[f"{i}.values"] = layer.attention.keys_and_values(encoded[:, :0])
        return memory, state

    def step(self, tokens: Tensor, memory: State, state: State) -> tuple[Tensor, State]:
        """Read one more token of each prefix: (B,) int64 -> logits (B, V) of the next, and the state with keys and values of this one added."""
        read, after = state["0.keys"].shape[2], {}
        hidden = self.embed(tokens[:, None], "target", first=read)
        for i, layer in enumerate(self._decoder_layers()):
            keys, values = layer.attention.keys_and_values(hidden)
            after[f"{i}.keys"] = torch.cat([state[f"{i}.keys"], keys], dim=2)
            after[f"{i}.values"] = torch.cat([state[f"{i}.values"], values], dim=2)
            hidden = layer.step(hidden, (after[f"{i}.keys"], after[f"{i}.values"]), (memory[f"{i}.keys"], memory[f"{i}.values"]), memory["mask"])
        return self._logits(hidden[:, 0]), after

    def alignment(self, source: Tensor, source_mask: Tensor, target: Tensor) -> Tensor:
        """Return how much each target place looks at each source token in the last layer's attention to the encoder: (B, A, T, S)."""
        encoded, hidden = self.encode(source, source_mask), self.embed(target, "target")
        *before, last = self._decoder_layers()
        for layer in before:
            hidden = layer(hidden, encoded, source_mask)
        return last.cross.weights(last.attend_to_prefix(hidden), encoded, source_mask)

    def _logits(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self._table("target").weight)

    def _table(self, language: str) -> nn.Embedding:
        return cast(nn.Embedding, self.embedding[language])

    def _decoder_layers(self) -> list[DecoderLayer]:
        return [cast(DecoderLayer, layer) for layer in self.decoder]
