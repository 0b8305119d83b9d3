"""W&B's directories in a store, `runs/<run_id>/wandb/[offline-]run-<start>-<id>[-<n>]`: pieces of W&B runs, one for each attempt at a training.

The pieces of one W&B run may lie with several runs of the store: another run goes on with a training that was left half-done.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from components.files import read_object, write_json
from flows.adapters.wandb import quiet

MARK = "modelyard-sync.json"
_NAME = re.compile(r"(?:offline-)?run-(?P<started>\d{8}_\d{6})-(?P<id>[0-9a-f]+)(?:-(?P<number>\d+))?")  # numbered: begun in the same second
_READS = 2  # a log has a first record: none means that the tool did not run to its end, as on a machine that is full
_SMALLEST_BYTES = 64  # W&B's core writes seven bytes at once and the rest in blocks: killed early it leaves a log without a record


@dataclass(frozen=True)
class Piece:
    """What one attempt left behind."""

    directory: Path

    @property
    def identifier(self) -> str:
        return self._name["id"]

    @property
    def started(self) -> str:
        """When it was begun, to be ordered by: `20261121_221051`, and a number where several were begun in one second."""
        return f"{self._name['started']}-{int(self._name['number'] or 0):04d}"

    @property
    def _name(self) -> re.Match[str]:
        found = _NAME.fullmatch(self.directory.name)
        assert found is not None, f"{self.directory} is no directory of W&B"
        return found

    @property
    def run_id(self) -> str:
        """Of the store's run with which it lies."""
        return self.directory.parents[1].name

    @property
    def log(self) -> Path:
        """W&B's transaction log."""
        return self.directory / f"run-{self.identifier}.wandb"

    @property
    def delivered(self) -> bool:
        """Whether W&B's server has it, by our account or, where a person ran `wandb sync`, by W&B's."""
        return read_object(self.directory / MARK).get("state") == "delivered" or self.log.with_suffix(".wandb.synced").is_file()

    @property
    def offline(self) -> bool:
        return self.directory.name.startswith("offline-")

    @property
    def empty(self) -> bool:
        """Whether its log holds no record: whose attempt was killed before W&B wrote any."""
        return not self.log.is_file() or self.log.stat().st_size < _SMALLEST_BYTES

    @property
    def untouched(self) -> bool:
        """Whether the server can have nothing of it. W&B's own sync appends whatever it reads: what the server has, it would have twice."""
        return self.offline and not (self.directory / MARK).is_file()

    @property
    def last_step(self) -> int:
        """The last step that is logged: whose row lies in the log (what a killed attempt had not written does not), or that the server has."""
        marked: int = read_object(self.directory / MARK).get("step", -1)
        return max([marked, *steps_of(self)])

    def mark(self, state: str, step: int = -1) -> None:
        """Remember what became of it: begun (to be sent), or delivered, the server having the run up to a step."""
        write_json(self.directory / MARK, {"state": state, "step": step, "at": datetime.now(UTC).isoformat(timespec="seconds")})


def pieces(runs: Path, identifier: str | None = None) -> list[Piece]:
    """Return the pieces under `<store>/runs`, of one W&B run or of all, in the order in which they were begun."""
    found = [Piece(path) for path in runs.glob("*/wandb/*run-*") if _NAME.fullmatch(path.name) and path.is_dir() and not path.is_symlink()]
    return sorted((piece for piece in found if identifier in (None, piece.identifier)), key=lambda piece: (piece.started, str(piece.directory)))


def _read(piece: Piece) -> list[dict[str, Any]]:
    command = [str(Path(sys.executable).parent / "wandb"), "leet", "inspect", "--json", str(piece.directory)]
    printed = subprocess.run(command, capture_output=True, text=True, env=quiet()).stdout
    return [json.loads(line) for line in printed.splitlines() if line.startswith("{")]


def steps_of(piece: Piece) -> list[int]:
    """Return the steps of a piece's rows, as W&B's own tool reads its log: of a torn one those before the tear."""
    records: list[dict[str, Any]] = []
    for _ in range(_READS):
        if piece.empty or (records := _read(piece)):
            break
    return [int(record["history"]["item"]["_step"]) for record in records if record.get("type") == "history"]
