"""Read from the environment."""

from __future__ import annotations

from pathlib import Path

EXPERIMENT = {"reinforcement/q_learning": ["procedure.steps=50", "procedure.walkers=8"]}


def write(raw: Path) -> None:
    """Nothing is read."""
