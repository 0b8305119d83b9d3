"""A seeded permutation that stays the same for ever."""

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
