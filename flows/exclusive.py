"""Files with several writers: one at a time, and what a killed one left is removed by the next."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from components.files import write_json


@contextmanager
def exclusive(lock: Path) -> Iterator[None]:
    """Hold a lock, to be held for milliseconds; the kernel gives it back when the process dies, however it dies."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with open(lock, "a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def replace_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically. All writers of the file must hold one lock: what lies there half-written is nobody's any more."""
    for left in path.parent.glob(f".tmp-*-{path.name}"):
        left.unlink()
    write_json(path, value)
