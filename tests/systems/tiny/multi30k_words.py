"""The pairs of multi30k.py; each language has its own words."""

from __future__ import annotations

from tests.systems.tiny.multi30k import EXPERIMENT, write

__all__ = ["EXPERIMENT", "PREPARE", "write"]

PREPARE: dict[str, object] = {"vocabulary_size": 20, "max_tokens": 16}
