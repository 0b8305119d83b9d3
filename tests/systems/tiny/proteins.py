"""As mutag: the archive holds both."""

from __future__ import annotations

from tests.systems.tiny.mutag import PREPARE, write

__all__ = ["PREPARE", "write"]
