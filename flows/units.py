"""Seconds and bytes for people."""

from __future__ import annotations

_SCALES = ((3600, 60, "min", 1, "s"), (86400, 3600, "h", 60, "min"))  # below, seconds of the unit, its name, of the part, its name


def spell_seconds(seconds: float) -> str:
    """Return a duration in its two largest units: `0.4 s`, `42 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    for below, size, large, part, small in _SCALES:
        if whole < below:
            return f"{whole // size} {large} {whole % size // part} {small}"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def spell_bytes(count: int) -> str:
    """Return a size: `312 B`, `4.2 KiB`, `1.3 GiB`."""
    if count < 1024:
        return f"{count} B"
    power = min((count.bit_length() - 1) // 10, 4)
    return f"{count / 1024**power:.1f} {('KiB', 'MiB', 'GiB', 'TiB')[power - 1]}"
