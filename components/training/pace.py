"""Which rank holds the others up.

All ranks take the same time for a step, because they wait for each other in the exchange of gradients; who waits least is the slow one. DDP
measures each rank's own part of a step, until its last gradient is there, at the first ten steps and at every hundredth: nothing is timed here
beside it. FSDP measures nothing, so there only the waiting for data tells ranks apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from components.training.session import Session, sum_over_ranks

_NANOSECONDS = 1e-9


def own_seconds(phases: Sequence[Mapping[str, nn.Module]], micro_batches: int) -> float:
    """Return what this rank needs for the forward and backward passes of a step, without waiting: a mean since it was started.

    Args:
        phases: the networks as each phase sees them (strategy.wrap).
        micro_batches: of a step; DDP times the last.
    """
    measured = [network._get_ddp_logging_data() for phase in phases for network in phase.values() if isinstance(network, DistributedDataParallel)]  # type: ignore[no-untyped-call]
    passes = sum(told.get("avg_forward_compute_time", 0) + told.get("avg_backward_compute_time", 0) for told in measured)
    return float(passes) * _NANOSECONDS * micro_batches


def compare_ranks(session: Session, seconds: float) -> dict[str, Any]:
    """Return `mean`, `least` and `greatest` of a figure over the ranks, and the `slowest` rank; every rank must ask.

    Args:
        seconds: of this rank.
    """
    row = torch.zeros(session.world, dtype=torch.float64, device=session.device)
    row[session.rank] = seconds
    row = sum_over_ranks(session, row)
    return {"mean": float(row.mean()), "least": float(row.min()), "greatest": float(row.max()), "slowest": int(row.argmax())}
