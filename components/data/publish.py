"""Directories that are whole or absent: a temporary sibling, synced, then renamed."""

from __future__ import annotations

import glob
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LETTERS = 8  # of the random part of a temporary name: of a fixed length, so that the leftovers of `x` are told from those of `a-x`


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yield an empty temporary sibling of `path`; on success it takes the place of `path`, else it is removed.

    A process killed inside leaves `.tmp-*` siblings, which the next one that makes `path` removes, and never a half-written `path`. Replacing
    an existing directory is two renames: killed between them, `path` is absent (and made again by the next run), never a mixture.

    One process at a time may make a `path`; DVC's locks see to it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".tmp-{'?' * _LETTERS}-{glob.escape(path.name)}"):
        shutil.rmtree(left)
    with temporary_directory(path) as temporary:
        yield temporary
        _sync(temporary)
        _replace(temporary, path)


@contextmanager
def temporary_directory(path: Path) -> Iterator[Path]:
    """Yield an empty sibling of `path`, removed at the end; what a killed process leaves of it is removed when `path` is made the next time."""
    temporary = _sibling(path)
    temporary.mkdir()
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _sibling(path: Path) -> Path:
    return path.with_name(f".tmp-{uuid.uuid4().hex[:_LETTERS]}-{path.name}")


def _sync(directory: Path) -> None:
    for entry in directory.rglob("*"):
        if entry.is_file():
            with open(entry, "rb") as stream:
                os.fsync(stream.fileno())


def _replace(temporary: Path, path: Path) -> None:
    old = _sibling(path)
    if path.exists():
        os.replace(path, old)
    os.replace(temporary, path)
    shutil.rmtree(old, ignore_errors=True)
