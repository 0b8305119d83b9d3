"""What a job knows about where it runs. Backends: this process or torchrun's (here), Ray Train (flows/adapters/ray_group.py)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
import torch.distributed as dist

from components.data.streams import Stream
from components.training.notices import Notice, Told


class Session(Protocol):
    """One worker's view of its group."""

    @property
    def rank(self) -> int: ...

    @property
    def world(self) -> int: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def stream(self) -> Stream | None:
        """What `performance.loader=ray_data` fetches with; None where there is no Ray."""

    def notice(self) -> Notice:
        """Return what this rank has heard. Asked at every step, so it must be cheap; the loop brings the ranks to agreement."""


@dataclass
class LocalSession:
    """This process alone, or one process of a `torch.distributed` group that the caller has initialised."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    told: Told = field(default_factory=Told)
    stream: Stream | None = None

    @property
    def rank(self) -> int:
        return dist.get_rank() if dist.is_initialized() else 0

    @property
    def world(self) -> int:
        return dist.get_world_size() if dist.is_initialized() else 1

    def notice(self) -> Notice:
        return self.told.notice


def gather(session: Session, value: Any) -> list[Any]:
    """Return every rank's value, in rank order, on every rank. Values may differ in size."""
    if session.world == 1:
        return [value]
    values: list[Any] = [None] * session.world
    dist.all_gather_object(values, value)
    return values


def take_from_rank_0(session: Session, values: Iterable[torch.Tensor]) -> None:
    """Overwrite tensors, the same ones on every rank, with rank 0's."""
    if session.world > 1:
        for value in values:
            dist.broadcast(value, src=0)


def sum_over_ranks(session: Session, values: torch.Tensor) -> torch.Tensor:
    """Return the sum of a tensor over the ranks, on the session's device; `values` itself may be changed."""
    if session.world == 1:
        return values
    values = values.to(session.device)
    dist.all_reduce(values)
    return values
