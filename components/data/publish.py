"""Directories that are whole or absent: a temporary sibling, synced, then renamed."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yield an empty temporary sibling of `path`; on success it takes the place of `path`, else it is removed.

    A process killed inside leaves a `.tmp-*` sibling and never a half-written `path`. Replacing an existing directory is two
    renames: killed between them, `path` is absent (and made again by the next run), never a mixture.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp-{uuid.uuid4().hex[:8]}-{path.name}")
    temporary.mkdir()
    try:
        yield temporary
        _sync(temporary)
        _replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _sync(directory: Path) -> None:
    for entry in directory.rglob("*"):
        if entry.is_file():
            with open(entry, "rb") as stream:
                os.fsync(stream.fileno())


def _replace(temporary: Path, path: Path) -> None:
    old = temporary.with_name(f"{temporary.name}-old")
    if path.exists():
        os.replace(path, old)
    os.replace(temporary, path)
    shutil.rmtree(old, ignore_errors=True)
