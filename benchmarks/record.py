"""A table on stdout, and the same as JSON with machine and date."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from components.files import write_json
from flows.stages import environment


def publish(name: str, rows: list[dict[str, Any]], notes: dict[str, Any]) -> None:
    """Print rows as a table and write them, with notes, to benchmarks/results/<name>.json."""
    headers = list(rows[0])
    widths = [max(len(h), *(len(_text(r[h])) for r in rows)) for h in headers]
    for cells in (headers, *([_text(r[h]) for h in headers] for r in rows)):
        print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)))
    for key, value in notes.items():
        print(f"{key}: {value}")
    machine = {"processor": platform.processor() or platform.machine(), "cpus": os.cpu_count(), "system": platform.platform()}
    date = datetime.now(UTC).isoformat(timespec="seconds")
    record = {"benchmark": name, "date": date, "machine": machine, "environment": environment(), "rows": rows, "notes": notes}
    write_json(Path(__file__).parent / "results" / f"{name}.json", record)


def _text(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
