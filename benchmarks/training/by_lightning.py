"""The same in Lightning, its Trainer set to be fast: no progress bar, no checkpoints, no logger, no summary, no sanity check."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import Tensor

from benchmarks.training.log import Log
from benchmarks.training.recipe import Recipe
from benchmarks.training.systems import System


class _Module(lightning.LightningModule):  # type: ignore[misc]
    def __init__(self, recipe: Recipe, log: Log) -> None:
        super().__init__()
        self.model, self.recipe, self.noted = recipe.model, recipe, log

    def configure_optimizers(self) -> dict[str, Any]:
        return {"optimizer": self.recipe.optimizer, "lr_scheduler": {"scheduler": self.recipe.scheduler, "interval": "step"}}

    def on_train_epoch_start(self) -> None:
        self.recipe.new_epoch()

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return self.recipe.loss(self.model, *batch)

    def on_train_batch_end(self, outputs: dict[str, Tensor], batch: Any, batch_idx: int) -> None:
        """`self.log` would note at every step, and without a logger, nothing; so this is the fastest way."""
        if self.noted.due(self.global_step):
            self.noted.note(self.global_step, outputs["loss"].item())


def train(system: System, data: Path, steps: int, log: Log) -> None:
    """Make `steps` steps. The batches are handed over as they are: a DataLoader would only add to the time."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    recipe = Recipe(system, data, steps, torch.device("cpu"))
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=steps,
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        gradient_clip_val=system.clip_norm,
    )
    trainer.fit(_Module(recipe, log), train_dataloaders=recipe.batches)
