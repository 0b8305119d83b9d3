"""Random numbers that belong to samples: a counter-based generator on tensors.

Legend: B samples of a batch, S the drawn shape, N names.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import torch
from torch import Tensor

_MASK = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15  # 2^64 / golden ratio, odd
_MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_SHIFTS = (30, 27, 31)
_FLOAT_BITS = 24  # of a float32's significand: k * 2^-24 is exact, and below 1


class Draws:
    """Random numbers f(seed, epoch, sample, name, position): neither a batch's composition nor the number of workers changes them.

    A number is a word of splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014) whose
    stream is chosen by another: `key = word(H(seed, epoch, name), sample)`, `number = word(key, position)`. There is no state:
    the same name gives the same numbers again, so each use takes a name of its own.

    Args:
        seed: of the run.
        epoch: from 0.
        sample_id: `(B,)` int64, on the device where the numbers are wanted.
    """

    def __init__(self, seed: int, epoch: int, sample_id: Tensor) -> None:
        self._prefix = f"{seed}/{epoch}/"
        self._sample_id = sample_id

    def uniform(self, name: str, *shape: int) -> Tensor:
        """Return `(B, *S)` float32, uniform in [0, 1), multiples of 2^-24."""
        return self._fraction(self._words(name, shape))

    def normal(self, name: str, *shape: int) -> Tensor:
        """Return `(B, *S)` float32, standard normal (Box and Muller, 1958); the tail ends at sqrt(48 ln 2) = 5.77."""
        words = self._words(name, (2, *shape))
        radius = torch.sqrt(-2.0 * torch.log(1.0 - self._fraction(words[:, 0])))  # 1 - u is in (0, 1]
        return radius * torch.cos(2.0 * math.pi * self._fraction(words[:, 1]))

    def integers(self, name: str, low: int, high: int, *shape: int) -> Tensor:
        """Return `(B, *S)` int64, uniform in [low, high), by Lemire's multiplication (bias below (high - low) / 2^32).

        Raises:
            ValueError: the range is empty or 2^31 or wider.
        """
        if not 0 < high - low < 2**31:
            raise ValueError(f"integers needs 0 < high - low < 2^31, got low={low}, high={high}")
        upper = _shift_right(self._words(name, shape), 32)
        return low + _shift_right(upper * (high - low), 32)

    def keys(self, names: Sequence[str]) -> Tensor:
        """Return `(N, B)` int64: for each name, the start of each sample's stream. `words` turns a row into numbers later, without these draws."""
        streams = torch.tensor([self._stream(name) for name in names], dtype=torch.int64, device=self._sample_id.device)
        return splitmix64(streams[:, None], self._sample_id)

    @staticmethod
    def words(keys: Tensor, count: int) -> Tensor:
        """Return the first words of each stream, all 64 bits random: `(B,)` int64 -> `(B, count)` int64."""
        return splitmix64(keys[:, None], torch.arange(count, dtype=torch.int64, device=keys.device))

    def _words(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Return `(B, *S)` int64 whose 64 bits are all random."""
        keys = splitmix64(self._stream(name), self._sample_id)
        return self.words(keys, math.prod(shape)).reshape(len(keys), *shape)

    def _stream(self, name: str) -> int:
        """Return H(seed, epoch, name) with an int64's bits."""
        return _signed(int.from_bytes(hashlib.blake2b(f"{self._prefix}{name}".encode(), digest_size=8).digest(), "little"))

    @staticmethod
    def _fraction(words: Tensor) -> Tensor:
        return _shift_right(words, 64 - _FLOAT_BITS).to(torch.float32) * 2.0**-_FLOAT_BITS


def splitmix64(state: Tensor | int, position: Tensor) -> Tensor:
    """Return word number `position` of the splitmix64 stream that starts at `state`; int64 arithmetic wraps as uint64's does."""
    z = state + (position + 1) * _signed(_GAMMA)
    for shift, multiplier in zip(_SHIFTS, _MULTIPLIERS, strict=False):
        z ^= _shift_right(z, shift)  # in place: no new memory, 1.7 times as fast on a million words
        z *= _signed(multiplier)
    z ^= _shift_right(z, _SHIFTS[-1])
    return z


def _shift_right(words: Tensor, bits: int) -> Tensor:
    """Shift right with zeros coming in; torch's own shift copies the sign of an int64."""
    shifted = words >> bits
    shifted &= (1 << (64 - bits)) - 1
    return shifted


def _signed(word: int) -> int:
    """Return the int64 that has the bits of a uint64."""
    word &= _MASK
    return word - (1 << 64) if word >> 63 else word
