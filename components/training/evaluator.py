"""One exact pass over a split: whole batches are dealt to the ranks, states are gathered, so any number of workers gives the same numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from components.metrics.base import assert_all_samples
from components.tasks.base import Task
from components.training.inputs import Inputs
from components.training.session import Session, gather


@torch.no_grad()
def evaluate(
    session: Session,
    task: Task,
    networks: Mapping[str, nn.Module],
    inputs: Inputs,
    batch_size: int,
    max_batches: int | None = None,
    samples: list[dict[str, Tensor]] | None = None,
) -> dict[str, Any]:
    """Return the task's metrics over one split, equal on every rank.

    Args:
        networks: unwrapped (no DDP): ranks may have different numbers of batches.
        batch_size: of the evaluation; the whole batch goes to one rank.
        samples: when given, this rank's batches of `task.samples` are appended to it, on the CPU.
    """
    for network in networks.values():
        network.eval()
    metric = task.metrics()
    for batch in inputs.evaluation(batch_size, max_batches):
        outputs = task.predict(networks, batch)
        metric.update(outputs, batch)
        if samples is not None:
            samples.append({k: v.cpu() for k, v in task.samples(batch, outputs).items()})
    states = gather(session, metric.state())
    if "sample_id" in states[0]:
        assert_all_samples(states, torch.arange(inputs.evaluated_rows(batch_size, max_batches)))
    return metric.compute(states)
