"""One exact pass over a split: whole batches are dealt to the ranks, states are gathered, so any number of workers gives the same numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from components.metrics.base import assert_all_samples
from components.spec.schema import EvaluateSpec
from components.tasks.base import Task
from components.training.inputs import Inputs
from components.training.session import Session, gather


@torch.no_grad()
def evaluate(
    session: Session,
    task: Task,
    networks: Mapping[str, nn.Module],
    inputs: Inputs,
    options: EvaluateSpec,
    samples: list[dict[str, Tensor]] | None = None,
    *,
    lockstep: bool = False,
) -> dict[str, Any]:
    """Return the task's metrics over one split, equal on every rank.

    Args:
        networks: unwrapped (no DDP): ranks may have different numbers of batches.
        options: size and number of batches; a whole batch goes to one rank.
        samples: when given, this rank's batches of `task.samples` are appended to it, on the CPU.
        lockstep: the networks are shared out over the ranks, so every rank must take part in every pass; what it only takes part in does not count.
    """
    for network in networks.values():
        network.eval()
    metric = task.metrics()
    for batch, counts in inputs.evaluation(options.batch_size, options.max_batches, lockstep):
        outputs = task.predict(networks, batch)
        if not counts:
            continue
        metric.update(outputs, batch)
        if samples is not None:
            samples.append({k: v.cpu() for k, v in task.samples(batch, outputs).items()})
    states = gather(session, metric.state())
    if "sample_id" in states[0]:
        assert_all_samples(states, torch.arange(inputs.evaluated_rows(options.batch_size, options.max_batches)))
    return metric.compute(states)
