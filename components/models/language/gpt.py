"""A decoder-only Transformer (Radford et al. 2019, "Language models are unsupervised multitask learners": GPT-2; notes 004 M30, 003 R14).

Dimensions: B batch, T tokens of a sequence, V vocabulary, D hidden, A attention heads.

Norms stand before each sublayer and after the last block, `x + f(norm(x))`: GPT-2's order. The notes have the encoder-decoder's, and print
`x + norm(f(x))` for it (erratum 004 E27; the paper of 2017 has `norm(x + f(x))`).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.layers.dropout import Dropout

_INITIAL_STD = 0.02


class GPT(nn.Module):
    """Token and position embeddings, blocks of causal attention and a perceptron, and the token embedding again as output.

    GPT-2 small is `GPT(50257, 1024, layers=12, heads=12, hidden_dim=768)` with 124,439,808 parameters. The start is nanoGPT's: normal with
    deviation 0.02, biases 0, and `0.02 / sqrt(2 layers)` for what each sublayer adds to the residual stream (GPT-2, section 2.3).
    Attention weights are not dropped: the fused kernels would draw from torch's generator, which is not the same on another number of workers.

    Args:
        vocab_size: V.
        context_tokens: the longest sequence.
        layers: number of blocks.
        heads: A; it divides D.
        hidden_dim: D; the perceptrons have 4 D.
        dropout: probability, of the embeddings and of what each sublayer adds.

    Raises:
        ValueError: heads does not divide hidden_dim, or dropout is out of range.
    """

    def __init__(self, vocab_size: int, context_tokens: int, layers: int, heads: int, hidden_dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        if hidden_dim % heads:
            raise ValueError(f"heads must divide hidden_dim, received heads={heads}, hidden_dim={hidden_dim}")
        self.context_tokens = context_tokens
        self.embedding = nn.ModuleDict({"token": nn.Embedding(vocab_size, hidden_dim), "position": nn.Embedding(context_tokens, hidden_dim)})
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(Block(heads, hidden_dim, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(hidden_dim)
        self._initialise()

    def _initialise(self) -> None:
        for name, parameter in self.named_parameters():
            if name.endswith("residual.weight"):
                nn.init.normal_(parameter, std=_INITIAL_STD / math.sqrt(2 * len(self.blocks)))
            elif parameter.dim() == 2:
                nn.init.normal_(parameter, std=_INITIAL_STD)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def layers(self) -> list[nn.Module]:
        """From the embeddings to the last norm; every parameter lies in exactly one. The output's weight is the token embedding's."""
        return [self.embedding, *self.blocks, self.norm]

    def forward(self, inputs: Tensor) -> Tensor:
        """Tokens (B, T) int64 -> logits (B, T, V); those of place t come from tokens 0 to t alone.

        Raises:
            ValueError: T is above context_tokens.
        """
        length = inputs.shape[1]
        if length > self.context_tokens:
            raise ValueError(f"a sequence has {length} tokens, the model's context_tokens is {self.context_tokens}")
        positions = torch.arange(length, device=inputs.device)
        hidden = self.dropout(self.embedding["token"](inputs) + self.embedding["position"](positions))
        for block in self.blocks:
            hidden = block(hidden)
        return F.linear(self.norm(hidden), self.embedding["token"].weight)  # type: ignore[arg-type]


class Block(nn.Module):
    """`x + attention(norm(x))`, then `x + perceptron(norm(x))`.

    Args:
        heads: A.
        hidden_dim: D.
        dropout: probability, of what each sublayer adds.
    """

    def __init__(self, heads: int, hidden_dim: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm, self.attention = nn.LayerNorm(hidden_dim), CausalAttention(heads, hidden_dim)
        self.perceptron_norm, self.perceptron = nn.LayerNorm(hidden_dim), Perceptron(hidden_dim)
        self.attention_dropout, self.perceptron_dropout = Dropout(dropout), Dropout(dropout)

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        hidden = inputs + self.attention_dropout(self.attention(self.attention_norm(inputs)))
        out: Tensor = hidden + self.perceptron_dropout(self.perceptron(self.perceptron_norm(hidden)))
        return out


class CausalAttention(nn.Module):
    """Multi-head self-attention that looks back only: `softmax((Q K^T + M) / sqrt(D / A)) V` with M = -inf above the diagonal (004 4:1117).

    Args:
        heads: A.
        hidden_dim: D.
    """

    def __init__(self, heads: int, hidden_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.projections = nn.Linear(hidden_dim, 3 * hidden_dim)  # queries, keys, values
        self.residual = nn.Linear(hidden_dim, hidden_dim)

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        queries, keys, values = self.projections(inputs).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (B, A, T, D / A) each
        mixed = F.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        out: Tensor = self.residual(mixed.transpose(1, 2).flatten(2))
        return out


class Perceptron(nn.Module):
    """D -> 4 D -> D with GELU in its tanh form, which is GPT-2's (Hendrycks and Gimpel 2016).

    Args:
        hidden_dim: D.
    """

    def __init__(self, hidden_dim: int) -> None:
        super().__init__()
        self.widening = nn.Linear(hidden_dim, 4 * hidden_dim)
        self.residual = nn.Linear(4 * hidden_dim, hidden_dim)

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        out: Tensor = self.residual(F.gelu(self.widening(inputs), approximate="tanh"))
        return out
