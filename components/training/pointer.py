"""Naming a checkpoint on a command line. No torch: the driver does it."""

from __future__ import annotations

from pathlib import Path

from components.errors import UserError


def resolve_pointer(path: Path) -> Path:
    """Return the checkpoint directory that somebody named: itself, a pointer file, or the `checkpoints` directory (its latest).

    Raises:
        UserError: there is no checkpoint.
    """
    if path.is_file():
        path = path.parent / path.read_text().strip()
    elif (path / "latest").is_file():
        path = path / (path / "latest").read_text().strip()
    if not (path / "meta.json").is_file():
        raise UserError("there is no checkpoint", received=path, expected="a directory with meta.json, or a pointer such as checkpoints/latest")
    return path
