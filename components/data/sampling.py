"""Which rows make which batch, on which rank. Pure functions of their arguments (docs/architecture.md sections 2 and 6).

Legend: b rows of a part, S rows of a global batch, T = rows // S.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from components.data.permutation import permutation, with_replacement
from components.errors import UserError

Indices = npt.NDArray[np.int64]
Order = Literal["shuffled", "contiguous", "resampled"]


@dataclass(frozen=True)
class Part:
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


def epoch_batches(
    rows: int, batch_size: int, seed: int, epoch: int, rank: int, world: int, start_sample: int = 0, order: Order = "shuffled"
) -> Iterator[Part]:
    """Return one rank's parts of the global batches of an epoch, the same batches for every `world`.

    The rank takes every world-th place of each batch. Where a batch has fewer rows than there are ranks, a rank without a
    row takes the batch's first one with weight zero: every rank makes every step, and each row still counts once. A micro-batch
    is a rank: micro-batch i of A of rank r of W takes what rank `r + W i` of `W A` takes.

    Args:
        rows: of the split.
        batch_size: of the global batch, over all ranks.
        start_sample: how many samples of this epoch's order are done. With `shuffled` the rest is cut anew, so a run that is
            resumed with another batch size still visits each row once; the streams of `contiguous` depend on the batch size.
        order: `shuffled`, the permutation f(seed, epoch) cut into batches; `contiguous`, every place follows one stream of
            consecutive rows, the same in every epoch (see `_contiguous`); or `resampled`, as many rows drawn with replacement from the
            seed, the same ones in every epoch, shuffled (bagging: Breiman 1996; notes 002 M70).

    Raises:
        UserError: the batch is larger than the split, or the epoch cannot start there.
    """
    _require(rank, world, batch_size)
    if batch_size > rows:
        raise UserError("the batch is larger than the data", received=f"batch_size={batch_size}", expected=f"at most {rows}, the training rows")
    if not 0 <= start_sample <= rows:
        raise UserError(
            "the epoch cannot start outside the data", received=f"start_sample={start_sample}", expected=f"0 to {rows}, the training rows"
        )
    if order == "contiguous":
        _require_whole_batches(rows, batch_size, start_sample)
        return _parts(_contiguous(rows, batch_size, start_sample), rank, world)
    shuffled = permutation(rows, seed, epoch)
    rows_in_order = with_replacement(rows, seed)[shuffled] if order == "resampled" else shuffled
    return _parts(_shuffled(rows_in_order, batch_size, start_sample), rank, world)


def _require_whole_batches(rows: int, batch_size: int, start_sample: int) -> None:
    if start_sample % batch_size and start_sample != rows:
        raise UserError(
            "contiguous streams can only go on between two batches",
            received=f"start_sample={start_sample}",
            expected=f"a multiple of the batch size, {batch_size}",
            mend="resume with the batch size of the checkpoint",
        )


def _shuffled(order: Indices, batch_size: int, start_sample: int) -> Iterator[Indices]:
    for first in range(start_sample, len(order), batch_size):
        yield order[first : first + batch_size]


def _contiguous(rows: int, batch_size: int, start_sample: int) -> Iterator[Indices]:
    """Yield batch t = row t of every stream that has one.

    The rows are cut into S streams of T consecutive rows, the first `rows % S` of which have one more; these make the short last batch.
    """
    length, longer = divmod(rows, batch_size)
    places = np.arange(batch_size, dtype=np.int64)
    starts = places * length + np.minimum(places, longer)
    for t in range(batches_per_epoch(start_sample, batch_size), batches_per_epoch(rows, batch_size)):
        yield (starts if t < length else starts[:longer]) + t


def _parts(batches: Iterator[Indices], rank: int, world: int) -> Iterator[Part]:
    for whole in batches:
        mine = whole[rank::world]
        yield Part(mine, 1.0) if len(mine) else Part(whole[:1], 0.0)


def evaluation_batches(rows: int, batch_size: int, rank: int, world: int, lockstep: bool = False) -> Iterator[Part]:
    """Return one rank's batches of an evaluation: batch i, in row order and never padded, goes to rank i mod world.

    A batch has the same rows whatever `world` is, so the model's outputs are equal to the bit. A rank may get none.

    Args:
        lockstep: a rank that has run out while another has a batch takes row 0 with weight zero, so that all ranks call the model
            equally often; a model whose weights are shared out over the ranks needs that.
    """
    _require(rank, world, batch_size)
    rounds = batches_per_epoch(rows, batch_size * world)
    firsts = (batch_size * (turn * world + rank) for turn in range(rounds))
    parts = (np.arange(first, min(first + batch_size, rows), dtype=np.int64) for first in firsts)
    stand_in = Part(np.zeros(1, dtype=np.int64), 0.0)
    return (Part(indices, 1.0) if len(indices) else stand_in for indices in parts if lockstep or len(indices))


def _require(rank: int, world: int, batch_size: int) -> None:
    assert 0 <= rank < world, f"rank {rank} of {world}"
    if batch_size < 1:
        raise UserError("the batch is empty", received=f"batch_size={batch_size}", expected="at least 1")
