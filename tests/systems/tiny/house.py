"""The table stands in the configuration."""

from __future__ import annotations

from pathlib import Path


def write(raw: Path) -> None:
    """Nothing is read."""
