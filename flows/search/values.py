"""A trial's values: `{dotted key or group: value}`, and what they are on a command line."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

_WORD = re.compile(r"[A-Za-z_][\w./+-]*|\d+(?:ep|st)|0?\.\d+dur")  # what Hydra takes for text without quotes
_MEANING = {"true", "false", "null", "nan", "inf"}  # words that it takes for something else


def overrides_of(values: Mapping[str, Any]) -> list[str]:
    """Return values as Hydra's overrides."""
    return [f"{key}={_written(value)}" for key, value in values.items()]


def without_search(overrides: Sequence[str]) -> list[str]:
    """Return the overrides of the same experiment without a search, whether they or the experiment's file ask for it."""
    return [*(word for word in overrides if word.lstrip("+").partition("=")[0].partition(".")[0] != "tune"), "~tune"]


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values as Python's own numbers: samplers give numpy's."""
    return {key: value.item() if hasattr(value, "item") else value for key, value in values.items()}


def _written(value: Any) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    if _WORD.fullmatch(value) and value.lower() not in _MEANING:
        return value
    # In Hydra's quotes a backslash means itself, but before a quote.
    escaped = re.sub(r"(\\*)('|$)", lambda match: match[1] * 2 + ("\\'" if match[2] else ""), value)
    return f"'{escaped}'"
