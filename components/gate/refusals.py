"""A verdict of the gate in lines for people. Imports nothing: who reads a digest needs no torch."""

from __future__ import annotations

from typing import Any


def refusals(verdict: dict[str, Any]) -> list[str]:
    """Return a line for each check that was not passed."""
    return [f"{finding['name']}: {finding['detail']}" for finding in verdict["findings"] if not finding["passed"]]


def verdict_text(verdict: dict[str, Any]) -> str:
    """Return every finding, a line each, the refusals marked."""
    return "\n".join(f"  {'ok     ' if f['passed'] else 'REFUSED'}  {f['name']}: {f['detail']}" for f in verdict["findings"])
