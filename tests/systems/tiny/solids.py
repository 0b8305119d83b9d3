"""Made by the reader."""

from __future__ import annotations

from pathlib import Path

PREPARE: dict[str, object] = {"rows": {"train": 20, "validation": 20, "test": 20}, "points": 24}
_SMALL = ["model.width=4", "trainer.precision=fp32", "task.points=[8]", "task.degrees=[90]"]
EXPERIMENT = {"points/pointnet": _SMALL, "points/pointnet_vanilla": _SMALL}


def write(raw: Path) -> None:
    """Nothing to fetch."""
