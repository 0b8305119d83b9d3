"""A small trained run of any experiment, exported."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from components.export.export import ExportRequest, export
from components.files import read_json
from components.spec.parse import to_plain
from components.training.checkpoint import Checkpoints
from components.training.jobs import JOBS
from components.training.session import LocalSession
from tests.systems.small import Small, make


@dataclass(frozen=True)
class Exported:
    """What was trained and where it was exported to."""

    system: Small
    checkpoint: Path
    directory: Path
    described: dict[str, Any]


def train_and_export(experiment: str, root: Path, **origin: Any) -> Exported:
    """Train an experiment of conf/ for four steps on tiny data, evaluate it and export it, all under `root`."""
    root.mkdir(exist_ok=True)
    system = make(experiment, root)
    system = replace(system, spec=replace(system.spec, upstream={}))
    config = {"spec": to_plain(system.spec), "data": str(system.data), "directory": str(root / "run")}
    JOBS["train"](LocalSession(), config)
    checkpoint = Checkpoints(root / "run" / "checkpoints").path("best") or Checkpoints(root / "run" / "checkpoints").path("latest")
    assert checkpoint is not None
    JOBS["evaluate"](LocalSession(), {**config, "checkpoint": str(checkpoint)})
    directory = root / "export"
    directory.mkdir()
    metrics = read_json(root / "run" / "metrics.json")
    described = export(ExportRequest(system.spec, system.data, checkpoint, directory, metrics=metrics, origin=origin))
    return Exported(system, checkpoint, directory, described)
