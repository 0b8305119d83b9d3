"""Hashing many files with a line now and then: a store may hold more than is read in a moment."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from components.files import sha256_file

LINE_EVERY_SECONDS = 5.0
_MIB = 1 << 20


class Hasher:
    """Reads files, each once however often it is asked for.

    Args:
        announce: takes one line for the person who watches.
        total_bytes: how much there is to read, for the line.
    """

    def __init__(self, announce: Callable[[str], None], total_bytes: int = 0) -> None:
        self.files, self.bytes = 0, 0
        self._announce, self._total_bytes = announce, total_bytes
        self._known: dict[Path, str] = {}
        self._told = time.monotonic()

    def sha256(self, path: Path) -> str:
        """Return the sha256 of a file's content, in hex. Raises OSError when it cannot be read."""
        if path not in self._known:
            self._known[path] = sha256_file(path)
            self.files += 1
            self.bytes += path.stat().st_size
            self._tell()
        return self._known[path]

    def _tell(self) -> None:
        if time.monotonic() - self._told >= LINE_EVERY_SECONDS:
            self._told = time.monotonic()
            of = f" of {self._total_bytes / _MIB:,.0f}" if self._total_bytes else ""
            self._announce(f"read {self.bytes / _MIB:,.0f}{of} MiB, {self.files} files")
