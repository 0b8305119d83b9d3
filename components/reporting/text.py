"""Numbers, durations and nested settings as people read them."""

from __future__ import annotations

import json
import math
from typing import Any

NOTHING = "–"


def number(value: object) -> str:
    """Return a number with four significant digits, an integer with thin spaces between thousands; anything else as text."""
    if value is None:
        return NOTHING
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or (value.is_integer() and abs(value) < 1e15):
        return f"{int(value):,}".replace(",", "\u202f")
    if not math.isfinite(value):
        return str(value)
    if abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", "\u202f")
    return f"{value:.4g}"


def value_text(value: object) -> str:
    """Return a setting: a number as `number` does, a string as it is, anything else as JSON."""
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return number(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def score(value: float) -> str:
    """Return a metric with four decimals, so that a column of them lines up; very small and large ones as `number` does."""
    return f"{value:.4f}" if isinstance(value, float) and 0.001 <= abs(value) < 1000 else number(value)


def duration(seconds: float | None) -> str:
    """Return a duration: "0.42 s", "12.3 s", "3 min 20 s", "2 h 05 min"."""
    if seconds is None:
        return NOTHING
    if seconds < 59.95:
        return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def flatten(value: Any, name: str = "") -> list[tuple[str, str]]:
    """Return nested plain data as (dotted key, JSON text of the leaf); strings and lists of plain values are leaves."""
    if isinstance(value, dict) and value:
        return [pair for key, item in value.items() for pair in flatten(item, f"{name}.{key}" if name else str(key))]
    if isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        return [pair for index, item in enumerate(value) for pair in flatten(item, f"{name}.{index}")]
    return [(name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))]
