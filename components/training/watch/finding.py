"""A fault that the watch has seen, as plain data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One fault of one layer.

    Args:
        check: item of notes 002 section 14, "D21".
        layer: network and module or parameter, "model.features.0.weight"; a network or a phase where no single layer is meant.
        value: what was seen.
        limit: what it was held against.
        text: what it means and what to try, one or two sentences.
    """

    check: str
    layer: str
    value: float
    limit: float
    text: str
