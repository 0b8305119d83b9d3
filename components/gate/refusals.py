"""A verdict of the gate in lines for people. Imports nothing: who reads a digest needs no torch."""

from __future__ import annotations

from typing import Any


def refusals(verdict: dict[str, Any]) -> list[str]:
    """Return a line for each check that was not passed."""
    return [f"{finding['name']}: {finding['detail']}" for finding in verdict["findings"] if not finding["passed"]]


def verdict_text(verdict: dict[str, Any]) -> str:
    """Return every finding, a line each, the refusals marked; slices that were passed are counted."""
    shown = [f for f in verdict["findings"] if not (f["passed"] and f["name"].startswith("slice "))]
    lines = [f"  {'ok     ' if f['passed'] else 'REFUSED'}  {f['name']}: {f['detail']}" for f in shown]
    passed = [f for f in verdict["findings"] if f not in shown]
    if passed:
        worst = min(passed, key=lambda f: f["numbers"]["gain"])
        lines.append(f"  ok       {len(passed)} slices; the worst is {worst['name'].removeprefix('slice ')}: {worst['detail']}")
    return "\n".join(lines)
