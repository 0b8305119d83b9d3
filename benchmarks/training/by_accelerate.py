"""The same in Accelerate, as its documentation shows: `prepare`, `backward`, `clip_grad_norm_` are its own."""

from __future__ import annotations

from pathlib import Path

from accelerate import Accelerator

from benchmarks.training.log import Log
from benchmarks.training.recipe import Recipe
from benchmarks.training.systems import System


def train(system: System, data: Path, steps: int, log: Log) -> None:
    """Make `steps` steps. The batches are handed over as they are: its DataLoader would only add to the time."""
    accelerator = Accelerator(cpu=True)
    recipe = Recipe(system, data, steps, accelerator.device)
    model, optimizer, scheduler = accelerator.prepare(recipe.model, recipe.optimizer, recipe.scheduler)
    step = 0
    while step < steps:
        recipe.new_epoch()
        for inputs, targets in recipe.batches:
            loss = recipe.loss(model, inputs, targets)
            accelerator.backward(loss)
            if system.clip_norm is not None:
                accelerator.clip_grad_norm_(model.parameters(), system.clip_norm)
            optimizer.step()
            optimizer.zero_grad()
            scheduler.step()
            step += 1
            if log.due(step):
                log.note(step, loss.item())
            if step == steps:
                return
