"""A specification's model and task, built."""

from __future__ import annotations

import torch
from torch import nn

from components.data.card import Card
from components.spec.schema import Spec
from components.spec.targets import build
from components.tasks.base import Task
from components.training.session import Session


def build_system(spec: Spec, card: Card, session: Session) -> tuple[nn.Module, Task]:
    """Build the model, with weights drawn from the run's seed, on the session's device, and its task."""
    torch.manual_seed(spec.seed)
    model: nn.Module = build(spec.model).to(session.device)
    task: Task = build(spec.task, loss=build(spec.loss), card=card)
    return model, task
