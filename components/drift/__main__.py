"""`python -m components.drift REFERENCE NEWEST [key=value ...]`: compare two prepared data sets and print a table."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from components.drift.drift import drift
from components.drift.spec import DriftSpec
from components.errors import UserError
from components.spec.parse import parse


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and the verdict. Returns the exit code: 0, drifted or not, or 2 when the input is at fault."""
    parser = argparse.ArgumentParser(prog="python -m components.drift", description="How far is one data version from another?")
    parser.add_argument("reference", type=Path, help="prepared data set that a model was trained on")
    parser.add_argument("newest", type=Path, help="prepared data set")
    parser.add_argument("options", nargs="*", metavar="key=value", help="of components.drift.spec.DriftSpec, such as split=test")
    given = parser.parse_args(arguments)
    try:
        options = parse(DriftSpec, dict(map(_pair, given.options)), "drift")
        print("\n".join(lines(drift(given.reference, given.newest, options))))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def lines(result: dict[str, Any]) -> list[str]:
    """Return a comparison as text, what drifted first."""
    rows = [["feature", "measure", "value", "threshold", "p (adjusted)", ""]]
    for one in sorted(result["features"], key=lambda f: (not f["drifted"], -f["value"] / f["threshold"])):
        p_value = "" if one["adjusted_p_value"] is None else f"{one['adjusted_p_value']:.2g}"
        rows.append([one["name"], one["measure"], f"{one['value']:.4f}", f"{one['threshold']:g}", p_value, "drifted" if one["drifted"] else ""])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows] if len(rows) > 1 else []
    versions = f"{result['reference'][:12]} -> {result['newest'][:12]}"
    if result["reference"] == result["newest"]:
        return [f"{versions}: the same data version"]
    found = sum(f["drifted"] for f in result["features"])
    verdict = f"drifted in {found} of {len(result['features'])} comparisons" if found else "no drift"
    return [*table, f"{versions}: {verdict}, score {result['score']:.2f}"]


def _pair(text: str) -> tuple[str, Any]:
    key, _, value = text.partition("=")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
