"""Dropout whose masks belong to samples, so that they are equal whatever the number of workers (docs/architecture.md section 6).

Legend: B samples of a batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from components.errors import UserError

_LEVELS = 1 << 16  # a word of 64 bits serves four elements with 16 bits each


class SampleDraws(Protocol):
    """What is needed of `components.data.draws.Draws`. A protocol, because layers stand below every other room and import none."""

    def keys(self, names: Sequence[str]) -> Tensor: ...

    @staticmethod
    def words(keys: Tensor, count: int) -> Tensor: ...


class Dropout(nn.Module):
    """Inverted dropout (Srivastava et al. 2014, section 10; notes 004 4:341-343): `h' = 0` with probability p, else `h / (1 - p)`; `E[h'] = h`.

    Activations are dropped, not "parameters" as 000 says (erratum 000 E13: that is DropConnect). Nothing is left to scale at test time, where 002
    multiplies weights by the probability of keeping, 1 - p (erratum 002 E13).

    p is rounded to a multiple of 1/65536, and what is kept is divided by the exact probability of keeping. An element's fate is a function of
    (seed, epoch, sample, layer, place in the sample); `hand_draws` brings it before each forward pass in training. A sample comes once an
    epoch, so no mask comes twice; but a layer that is called twice in one pass drops the same places in both.

    Args:
        p: probability of dropping an element, from 0 to 1 - 2^-16.

    Raises:
        ValueError: p is out of range.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0.0 <= p <= 1.0 - 1.0 / _LEVELS:
            raise ValueError(f"p must lie from 0 to 1 - 2^-16, received {p}")
        self.dropped_levels = round(p * _LEVELS)  # of 65536
        self.keys: Tensor | None = None  # (B,) int64. No buffer: DDP would spread rank 0's
        self.words: Callable[[Tensor, int], Tensor] | None = None

    def extra_repr(self) -> str:
        """The probability in effect."""
        return f"p={self.dropped_levels / _LEVELS:g}"

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, ...) -> (B, ...), any floating type; axis 0 is the sample. In evaluation, or with p = 0, the inputs themselves.

        Raises:
            UserError: in training, no draws were handed over, or those of a batch of another size.
        """
        if not self.training or not self.dropped_levels:
            return inputs
        # In this order half precision rounds once: the mask is exact, and the factor, a plain number, is not rounded first.
        return inputs * self._kept(inputs.shape) * (_LEVELS / (_LEVELS - self.dropped_levels))

    def _kept(self, shape: torch.Size) -> Tensor:
        """Return the mask, bool: of each 16 bits, read as a signed number, the lowest `dropped_levels` values drop."""
        if self.keys is None or self.words is None or len(self.keys) != shape[0]:
            raise UserError(
                "dropout does not know which samples it works on",
                received="no draws" if self.keys is None else f"the draws of {len(self.keys)} samples for inputs of {shape[0]}",
                expected="the draws of this batch's samples",
                mend="call hand_draws(stochastic_layers(model), draws) before the forward pass, or model.eval()",
            )
        count = math.prod(shape[1:])
        quarters = self.words(self.keys, -(-count // 4)).view(torch.int16)[:, :count]
        return (quarters >= self.dropped_levels - _LEVELS // 2).reshape(shape)


def stochastic_layers(model: nn.Module) -> list[tuple[str, Dropout]]:
    """Return the layers that need draws and their dotted paths in the model, which name their streams. Make the list once, of the bare model:
    a wrapper such as DDP would put its own name before each path."""
    return [(name, module) for name, module in model.named_modules() if isinstance(module, Dropout) and module.dropped_levels]


def hand_draws(layers: Sequence[tuple[str, Dropout]], draws: SampleDraws) -> None:
    """Give every layer the keys of this step's samples.

    Args:
        layers: what `stochastic_layers` returned.
        draws: of the rows of the batch that comes next.
    """
    if not layers:
        return
    for (_, layer), keys in zip(layers, draws.keys([name for name, _ in layers]), strict=True):
        layer.keys, layer.words = keys, draws.words
