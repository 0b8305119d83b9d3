"""A seeded permutation, and a draw with replacement, that stay the same for ever."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def permutation(rows: int, *entropy: int) -> npt.NDArray[np.int64]:
    """Return a random order of `0 .. rows - 1`, int64 `(rows,)`, that depends on the non-negative numbers `entropy` alone.

    It sorts raw words of PCG64, whose stream numpy guarantees to keep; `Generator.permutation` has no such promise (NEP 19),
    and a new numpy must not reorder an epoch or move a row from one split to another.
    """
    words = np.random.PCG64(np.random.SeedSequence(entropy)).random_raw(rows)
    return np.argsort(words, kind="stable")


def with_replacement(rows: int, *entropy: int) -> npt.NDArray[np.int64]:
    """Draw as many row numbers as there are rows, each of `0 .. rows - 1` equally likely every time: a bootstrap replicate, int64 `(rows,)`.

    On average it misses `(1 - 1 / rows)^rows` of the rows, 36.8 % of many (notes 002 T52). From 64-bit words: the remainder's bias is below 2^-30.
    """
    words = np.random.PCG64(np.random.SeedSequence(entropy, spawn_key=(1,))).random_raw(rows)  # another stream than a permutation's
    return (words % np.uint64(rows)).astype(np.int64)
