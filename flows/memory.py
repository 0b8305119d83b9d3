"""What earlier processes found out, kept beside the byte code, as Python keeps that: without it everything is found out again."""

from __future__ import annotations

import importlib.util
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from components.files import read_json, sha256_file, write_json


class Memory:
    """Plain data by key, of one module.

    Args:
        module: the module's `__file__`; when it changes, all is forgotten.
        kept: how many entries are remembered, the newest.
        versions: of what else the entries depend on.
    """

    def __init__(self, module: str, kept: int, versions: str = "") -> None:
        self.path = Path(importlib.util.cache_from_source(module)).with_suffix(".found.json")
        self._by, self._kept = f"{sha256_file(Path(module))} {versions}".strip(), kept
        self._entries: dict[str, Any] = {}
        self._changed = False
        with suppress(OSError, ValueError, KeyError, TypeError):
            plain = read_json(self.path)
            if plain["by"] == self._by and isinstance(plain["entries"], dict):
                self._entries = plain["entries"]

    def get(self, key: str) -> Any:
        """Return what is known under a key; None when nothing is."""
        return self._entries.get(key)

    def put(self, key: str, value: Any) -> None:
        """Remember plain data until `keep`."""
        self._entries[key] = value
        self._changed = True

    def keep(self) -> None:
        """Keep what was put for the next process, where that may be written."""
        if self._changed and not sys.dont_write_bytecode:
            with suppress(OSError):
                write_json(self.path, {"by": self._by, "entries": dict(list(self._entries.items())[-self._kept :])})
        self._changed = False
