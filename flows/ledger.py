"""`<store>/ledger.jsonl`: what happened in a store, one entry a line, appended and never changed, each with the hash of the one before.

    {"number": 7, "at": "2026-11-21T16:40:01+00:00", "kind": "stage", "body": {...}, "previous": "<sha256>", "sha256": "<of all the rest>"}

`ledger.head` names the last entry, so that lines cut off the end are missed too. Order is by number: a clock that is set back does no harm.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from components.errors import UserError
from components.files import canonical_json, read_json
from flows.exclusive import exclusive, replace_json

BEGINNING = "0" * 64  # the hash before the first entry
_TAIL_BYTES = 1 << 16


@dataclass(frozen=True)
class Entry:
    number: int
    at: str
    kind: str
    body: dict[str, Any]
    previous: str
    sha256: str

    @property
    def sound(self) -> bool:
        """True when the hash is that of the content."""
        return self.sha256 == _sha256({k: v for k, v in vars(self).items() if k != "sha256"})


class Ledger:
    """The ledger of the store under one root directory."""

    def __init__(self, root: Path) -> None:
        self.path, self._head, self._lock = root / "ledger.jsonl", root / "ledger.head", root / "ledger.lock"

    def append(self, kind: str, body: dict[str, Any]) -> Entry:
        """Add an entry and return it when it is on the disk.

        Raises:
            UserError: the last line is no entry: somebody changed the file.
        """
        with exclusive(self._lock):
            last = self._last()
            number, previous = (1, BEGINNING) if last is None else (last[0] + 1, last[1])
            plain = {"number": number, "at": datetime.now(UTC).isoformat(timespec="seconds"), "kind": kind, "body": body, "previous": previous}
            entry = Entry(**plain, sha256=_sha256(plain))  # type: ignore[arg-type]
            with open(self.path, "ab") as stream:
                stream.write((canonical_json(vars(entry)) + "\n").encode())
                stream.flush()
                os.fsync(stream.fileno())
            replace_json(self._head, {"number": entry.number, "sha256": entry.sha256})
        return entry

    def size(self) -> int:
        """Return the length in bytes of all whole entries: what is appended from now on lies after it."""
        return self._tail()[0]

    def entries(self, offset: int = 0) -> Iterator[Entry]:
        """Yield the entries in order, lines that are none left out (`complaints` names them).

        Args:
            offset: a former `size()`, to look at newer entries only.
        """
        for _, entry in self._lines(offset):
            if entry is not None:
                yield entry

    def complaints(self) -> list[str]:
        """Return a sentence for every sign that the ledger is not as it was written; none when it is."""
        found: list[str] = []
        number, previous = 0, BEGINNING
        for line, entry in self._lines():
            if entry is None:
                found.append(f"line {line} of the ledger is no entry")
                continue
            if not entry.sound:
                found.append(f"entry {entry.number} (line {line}) was changed: its hash is not that of its content")
            if entry.number != number + 1:
                found.append(f"entries {number + 1} to {entry.number - 1} are missing before line {line}")
            elif entry.previous != previous:
                found.append(f"entry {entry.number} (line {line}) does not follow the one before it: one of the two was replaced")
            number, previous = entry.number, entry.sha256
        head = self._read_head()
        if head is not None and head[0] > number:
            found.append(f"entries {number + 1} to {head[0]} are missing at the end")
        elif head is not None and head[0] == number and head[1] != previous:
            found.append(f"the last entry, {number}, is not the one that was written")
        elif head is None and number > 1:
            found.append("ledger.head is missing: whether lines were cut off the end cannot be told")
        return found

    def _lines(self, offset: int = 0) -> Iterator[tuple[int, Entry | None]]:
        if not self.path.is_file():
            return
        with open(self.path, "rb") as stream:
            stream.seek(offset)
            for number, line in enumerate(stream, start=1):
                if line.endswith(b"\n"):  # else it is being written, or was when its writer was killed
                    yield number, _entry(line)

    def _last(self) -> tuple[int, str] | None:
        """The number and hash to go on from: the last entry's or the head's, whichever is further (an entry may be ahead by the one whose writer
        was killed; the head is ahead when lines were removed, and the gap must show)."""
        known = [last for last in (self._read_head(), self._last_line()) if last is not None]
        return max(known, default=None)

    def _last_line(self) -> tuple[int, str] | None:
        size, lines = self._tail()
        if self.path.is_file() and size < self.path.stat().st_size:  # a writer was killed in the middle of a line: nobody was told of it
            os.truncate(self.path, size)
        if not lines:
            return None
        entry = _entry(lines[-1])
        if entry is None:
            raise UserError(
                "the ledger's last line is no entry",
                received=f"{lines[-1][:80]!r} in {self.path}",
                expected="one JSON object a line, as modelyard writes it",
                mend="restore the file from a copy, or move it aside: `modelyard verify` tells what else was changed",
            )
        return entry.number, entry.sha256

    def _tail(self) -> tuple[int, list[bytes]]:
        """The length of all whole lines, and the last of them."""
        if not self.path.is_file():
            return 0, []
        with open(self.path, "rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            span = min(_TAIL_BYTES, size)
            while True:
                stream.seek(size - span)
                tail = stream.read(span)
                whole = tail.rfind(b"\n") + 1
                if span == size or tail.count(b"\n") > 1:  # the last line begins in it
                    return size - span + whole, tail[:whole].splitlines()
                span = min(2 * span, size)

    def _read_head(self) -> tuple[int, str] | None:
        try:
            plain = read_json(self._head)
            return int(plain["number"]), str(plain["sha256"])
        except (OSError, ValueError, KeyError, TypeError):
            return None


def _entry(line: bytes) -> Entry | None:
    try:
        return Entry(**json.loads(line))
    except (ValueError, TypeError):
        return None


def _sha256(plain: dict[str, Any]) -> str:
    return hashlib.sha256(canonical_json(plain).encode()).hexdigest()
