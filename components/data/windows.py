"""Windows of rows of tokens: what a language model is given of the rows of components/data/sources/text.py.

A window has `block + 1` tokens: `block` inputs, and their targets one place on. Legend: B samples, L tokens of a row.
"""

from __future__ import annotations

import torch
from torch import nn

from components.data.draws import Draws
from components.data.transforms import Batch


class FirstWindow(nn.Module):
    """The first `block + 1` tokens of each row, `(B, L) -> (B, block + 1)`; a row that has no more stays as it is.

    Rows that start every `block` tokens so predict each token of a text once.

    Args:
        block: in tokens.
    """

    def __init__(self, block: int) -> None:
        super().__init__()
        self.block = block

    def forward(self, batch: Batch, draws: Draws) -> Batch:
        """`(B, L) -> (B, block + 1)` of the tokens' type."""
        return {**batch, "tokens": batch["tokens"][:, : self.block + 1]}


class RandomWindow(nn.Module):
    """`block + 1` tokens from a random place of each row, `(B, L) -> (B, block + 1)`.

    With rows of 2 block tokens that start every block tokens, the places of an epoch are uniform over the text and spread evenly: one in each
    block. nanoGPT draws them independently, so that an epoch's worth of steps leaves out a part 1/e of the blocks.

    Args:
        block: in tokens, below L.
    """

    def __init__(self, block: int) -> None:
        super().__init__()
        self.block = block

    def forward(self, batch: Batch, draws: Draws) -> Batch:
        """`(B, L) -> (B, block + 1)` of the tokens' type, each row's place by its own draw."""
        tokens = batch["tokens"]
        first = draws.integers("random_window", 0, tokens.shape[1] - self.block)
        places = first[:, None] + torch.arange(self.block + 1, device=tokens.device)
        return {**batch, "tokens": tokens.gather(1, places)}
