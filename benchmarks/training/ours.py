"""Ours: the train job as a worker runs it, watch and finite checks at their defaults. Its journal is what is measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.training.gate import Gate
from benchmarks.training.log import Entry, Log
from benchmarks.training.systems import Plain, System, plain_spec
from components.training import journal
from components.training.jobs import JOBS
from components.training.notices import Notice
from components.training.session import LocalSession


@dataclass
class GatedSession(LocalSession):
    """A session that stops at a gate: the loop asks it for notices once a step."""

    gate: Gate | None = None

    def notice(self) -> Notice:
        if self.gate is not None:
            self.gate.tick()
        return super().notice()


def train(system: System, data: Path, steps: int, log: Log, directory: Path, device: torch.device | None = None, **groups: Plain) -> None:
    """Make `steps` steps in `directory`.

    Args:
        groups: more keys of the specification.
    """
    config = {"spec": plain_spec(system, steps, log.every_steps, **groups), "data": str(data), "directory": str(directory)}
    JOBS["train"](GatedSession(device or torch.device("cpu"), gate=log.gate), config)
    log.entries += entries(directory)


def entries(directory: Path) -> list[Entry]:
    """Read a run's journal. The last step's record is written before validation and checkpoint, so they are in no figure."""
    records = [r for r in journal.read(directory / "metrics.jsonl") if r["kind"] == "step"]
    return [Entry(r["step"], r["loss"], r["seconds"], r["peak_memory_gib"]) for r in records]
