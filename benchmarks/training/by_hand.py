"""The limit: the loop that a good engineer writes for one model, with nothing that it does not need."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import torch

from benchmarks.training.log import Log
from benchmarks.training.recipe import Recipe
from benchmarks.training.systems import System


def train(system: System, data: Path, steps: int, log: Log, device: torch.device | None = None) -> None:
    """Make `steps` steps."""
    device = device or torch.device("cpu")
    recipe = Recipe(system, data, steps, device)
    model, optimizer, scheduler = recipe.model, recipe.optimizer, recipe.scheduler
    autocast = torch.autocast(device.type, torch.bfloat16) if system.precision == "bf16" else nullcontext()
    step = 0
    while step < steps:
        recipe.new_epoch()
        for inputs, targets in recipe.batches:
            with autocast:
                loss = recipe.loss(model, inputs, targets)
            loss.backward()  # type: ignore[no-untyped-call]
            if system.clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), system.clip_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            scheduler.step()
            step += 1
            if log.due(step):
                log.note(step, loss.item())
            if step == steps:
                return
