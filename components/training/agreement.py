"""What the ranks tell each other at every step, in one collective: the denominators of the loss terms, and who was asked to stop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from components.training.notices import Notice
from components.training.session import Session, sum_over_ranks

Counts = Mapping[str, Tensor | float]


class Agreement:
    """Sums counts over micro-batches and ranks; with them travels each rank's notice, so that all ranks leave at the same step."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._told = Notice.NONE
        self._copy: Tensor | None = None
        self._copied: torch.cuda.Event | None = None

    @property
    def notice(self) -> Notice:
        """What any rank was asked to do, as known at the start of the step; on a GPU this waits for that start, not for the step."""
        if self._copy is None:
            return self._told
        if self._copied is not None:
            self._copied.synchronize()
        stops, spent, saves = self._copy.tolist()
        return Notice.STOP if stops else Notice.SPENT if spent else Notice.SAVE if saves else Notice.NONE

    def total(self, counts: Sequence[Counts], weights: Sequence[float]) -> Counts:
        """Return each term's denominator over the global batch; a term that counts nothing divides by one.

        Args:
            counts: of each micro-batch.
            weights: of each micro-batch; 0 for a stand-in.
        """
        self._told = self._session.notice()
        if self._session.world == 1:
            return {name: _not_zero(sum(c[name] * w if w != 1.0 else c[name] for c, w in zip(counts, weights, strict=True))) for name in counts[0]}
        told = [float(self._told is notice) for notice in (Notice.STOP, Notice.SPENT, Notice.SAVE)]
        rows = [_row(c, self._session.device) * w for c, w in zip(counts, weights, strict=True)]
        own = torch.cat([torch.stack(rows).sum(0), torch.tensor(told, dtype=torch.float64, device=self._session.device)])
        summed = sum_over_ranks(self._session, own)
        self._copy = summed[-3:].to("cpu", non_blocking=True)
        if self._session.device.type == "cuda":
            self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._copied.record()
        return dict(zip(counts[0], torch.where(summed == 0, 1.0, summed).unbind(), strict=False))


def _row(counts: Counts, device: torch.device) -> Tensor:
    return torch.stack([torch.as_tensor(v, dtype=torch.float64, device=device) for v in counts.values()])


def _not_zero(value: Tensor | float) -> Tensor | float:
    return torch.where(value == 0, 1.0, value) if isinstance(value, Tensor) else value or 1.0
