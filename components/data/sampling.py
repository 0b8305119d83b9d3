"""Which rows make which batch, on which rank. Pure functions of their arguments (docs/architecture.md section 2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from components.data.permutation import permutation
from components.errors import UserError

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """One rank's part of a global batch.

    Args:
        indices: `(b,)` row numbers, never empty.
        weight: 1.0, or 0.0 where the only row is a stand-in that must not count.
    """

    indices: Indices
    weight: float


def batches_per_epoch(rows: int, batch_size: int) -> int:
    """Return the number of global batches of an epoch: the last one may be smaller, none is dropped."""
    return -(-rows // batch_size)


def epoch_batches(rows: int, batch_size: int, seed: int, epoch: int, rank: int, world: int, start: int = 0) -> Iterator[Batch]:
    """Return one rank's batches of an epoch.

    The rows are permuted by (seed, epoch) and cut into global batches; the rank takes every world-th row of each. So the global
    batches do not depend on `world`. Where the last batch has fewer rows than there are ranks, a rank without a row takes the
    batch's first one with weight zero: every rank makes every step, and each row still counts once.

    Args:
        rows: of the split.
        batch_size: of the global batch, over all ranks.
        start: number of global batches to leave out, for resuming inside an epoch.

    Raises:
        UserError: the batch is larger than the split, or smaller than the number of workers.
    """
    _require(rank, world, batch_size)
    if batch_size > rows:
        raise UserError("the batch is larger than the data", received=f"batch_size={batch_size}", expected=f"at most {rows}, the training rows")
    if batch_size < world:
        raise UserError("the batch is smaller than the number of workers", received=f"batch_size={batch_size}", expected=f"at least {world}")
    return _epoch_batches(permutation(rows, seed, epoch), batch_size, rank, world, start)


def _epoch_batches(order: Indices, batch_size: int, rank: int, world: int, start: int) -> Iterator[Batch]:
    for first in range(start * batch_size, len(order), batch_size):
        whole = order[first : first + batch_size]
        mine = whole[rank::world]
        yield Batch(mine, 1.0) if len(mine) else Batch(whole[:1], 0.0)


def evaluation_batches(rows: int, batch_size: int, rank: int, world: int) -> Iterator[Indices]:
    """Return one rank's batches of an evaluation: batch i, in row order and never padded, goes to rank i mod world.

    A batch has the same rows whatever `world` is, so the model's outputs are equal to the bit. A rank may get none.
    """
    _require(rank, world, batch_size)
    firsts = range(rank * batch_size, rows, world * batch_size)
    return (np.arange(first, min(first + batch_size, rows), dtype=np.int64) for first in firsts)


def _require(rank: int, world: int, batch_size: int) -> None:
    assert 0 <= rank < world, f"rank {rank} of {world}"
    if batch_size < 1:
        raise UserError("the batch is empty", received=f"batch_size={batch_size}", expected="at least 1")
