"""A specification's model and task, built."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from components.data.card import Card
from components.spec.schema import Spec
from components.spec.targets import build
from components.tasks.base import Task
from components.training.session import Session


def build_system(spec: Spec, card: Card, session: Session, upstream: Mapping[str, str] | None = None) -> tuple[nn.Module, Task]:
    """Build the model, with weights drawn from the run's seed, on the session's device, and its task.

    Args:
        upstream: name -> checkpoint directory of a run that this one builds on (`spec.upstream`); none where a system is only looked at.
    """
    torch.manual_seed(spec.seed)
    inputs = card.columns.get("inputs")
    model: nn.Module = build(spec.model, input_shape=None if inputs is None else inputs.shape).to(session.device)
    checkpoints = {name: Path(directory) for name, directory in (upstream or {}).items()}
    task: Task = build(spec.task, loss=build(spec.loss), card=card, upstream=checkpoints)
    return model, task
