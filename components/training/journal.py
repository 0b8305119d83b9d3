"""metrics.jsonl: one JSON object a line, appended by rank 0 while it trains. Progress display and trackers are readers of this file.

Records: `{"kind": "step" | "epoch" | "event", "step": int, "epoch": int, "seconds": float, ...}`; seconds since the (first) start of training.
"""

from __future__ import annotations

import json
import math
import os
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from components.files import write_text

ATTEMPTS = ("start", "lost")  # the events that tell of each attempt


class Journal:
    """Appends records. Lines are flushed one by one: a killed process leaves at most one torn last line, which readers skip."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = open(path, "a", encoding="utf-8")  # noqa: SIM115 - open for the life of the run

    def write(self, kind: str, **fields: Any) -> None:
        """Append one record. A value that is not finite is written as null: JSON has no NaN."""
        clean = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in fields.items()}
        self._stream.write(json.dumps({"kind": kind, **clean}) + "\n")
        self._stream.flush()

    def close(self) -> None:
        self._stream.close()


def read(path: Path) -> list[dict[str, Any]]:
    """Return all whole records of a journal; an absent file has none."""
    if not path.is_file():
        return []
    return list(parse_lines(path.read_text(encoding="utf-8")))


def parse_lines(text: str) -> Iterator[dict[str, Any]]:
    """Yield the records of whole lines, skipping a torn one."""
    for line in text.splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(record, dict):
            yield record


def rewind(path: Path, step: int) -> float:
    """Drop what was written after `step` (a resumed run makes those steps again) and return the seconds journalled so far.

    What was lost is noted: an event `lost` with `steps`, `lost_seconds` and `reached_seconds`, until which the attempt was heard of. The events
    of every start and loss stay, so that what all attempts took can be told from the journal.
    """
    kept, dropped = list[dict[str, Any]](), list[dict[str, Any]]()
    for record in read(path):
        (kept if record.get("step", 0) <= step or record.get("name") in ATTEMPTS else dropped).append(record)
    before = [r for r in kept if r.get("step", 0) <= step]
    seconds, reached = _latest(before), _latest(dropped)
    if dropped:
        event = {"kind": "event", "step": step, "epoch": max((r.get("epoch", 0) for r in before), default=0), "seconds": seconds, "name": "lost"}
        kept.append({**event, "steps": max(r["step"] for r in dropped) - step, "lost_seconds": reached - seconds, "reached_seconds": reached})
    if path.is_file():
        write_text(path, "".join(json.dumps(r) + "\n" for r in kept))
    return seconds


def _latest(records: list[dict[str, Any]]) -> float:
    return max((float(r.get("seconds", 0.0)) for r in records), default=0.0)


class Follower:
    """Reads a growing journal piece by piece. It holds the file open, so a stage that is committed (renamed) under it is read to its end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stream: BinaryIO | None = None
        self._given = array("q")  # hashes of the lines that were returned

    def new_records(self) -> list[dict[str, Any]]:
        """Return the records of the whole lines appended since the last call; of a rewound journal, what follows the lines that it has kept."""
        replaced = self._open()
        if self._stream is None:
            return []
        start = self._stream.tell()
        chunk = self._stream.read()
        whole = chunk[: chunk.rfind(b"\n") + 1]
        self._stream.seek(start + len(whole))
        lines = whole.splitlines()
        if replaced:
            kept = 0
            while kept < min(len(lines), len(self._given)) and hash(lines[kept]) == self._given[kept]:
                kept += 1
            lines = lines[kept:]
            del self._given[kept:]
        self._given.extend(hash(line) for line in lines)
        return list(parse_lines(b"\n".join(lines).decode("utf-8")))

    def _open(self) -> bool:
        """Open the journal, or the one that a resumed run has put in its place, which it tells."""
        try:
            inode = self.path.stat().st_ino
        except FileNotFoundError:
            return False
        if self._stream is not None and os.fstat(self._stream.fileno()).st_ino == inode:
            return False
        self._stream = open(self.path, "rb")  # noqa: SIM115 - held open on purpose
        return True
