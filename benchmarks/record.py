"""A table on stdout, and the same as JSON with machine and date. It does not import flows: benchmarks.training.gpu runs where that cannot."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from components.files import write_json


def show(rows: list[dict[str, Any]], notes: dict[str, Any]) -> None:
    """Print rows as a table, and notes below it."""
    headers = list(rows[0])
    widths = [max(len(h), *(len(_text(r[h])) for r in rows)) for h in headers]
    for cells in (headers, *([_text(r[h]) for h in headers] for r in rows)):
        print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)))
    for key, value in notes.items():
        print(f"{key}: {value}")


def publish(name: str, rows: list[dict[str, Any]], notes: dict[str, Any]) -> None:
    """Show rows and notes, and write them to benchmarks/results/<name>.json."""
    show(rows, notes)
    machine = {"processor": platform.processor() or platform.machine(), "cpus": os.cpu_count(), "system": platform.platform()}
    date = datetime.now(UTC).isoformat(timespec="seconds")
    versions = {"python": platform.python_version(), **{package: metadata.version(package) for package in ("torch", "numpy")}}
    record = {"benchmark": name, "date": date, "machine": machine, "environment": versions, "rows": rows, "notes": notes}
    write_json(Path(__file__).parent / "results" / f"{name}.json", record)


def _text(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
