"""Which runs go on now and which stages they use: `<store>/running/<run_id>-<random>.json`, a lease with a heartbeat (flows/lease.py).

A run names a stage here before it looks for it. Who removes a stage (flows/housekeeping/removal.py) looks here and renames it under this folder's
lock: either the run named it first and it stays, or it is gone before the run looks, and then the run makes it again.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.files import read_json
from flows.lease import Holder, Lease, read_holder, runs_here

RUNNING = "running"


class InUse:
    """One run of this process, announced from now until `close`, or until the process is gone."""

    def __init__(self, root: Path, run_id: str, told: dict[str, Any]) -> None:
        path = root / RUNNING / f"{run_id}-{uuid.uuid4().hex[:8]}.json"
        self._lease = Lease(path, on_wait=lambda line: None, told={"run_id": run_id, **told, "stages": []}).__enter__()
        self._stages: list[tuple[str, str]] = []

    def name(self, *stages: tuple[str, str]) -> None:
        """Say that stages, `(stage, key)`, are used from now on, whether they are there yet or not.

        Raises:
            RunError: this process was silent for so long that it counted as dead; what it used may have been removed.
        """
        self._stages += stages
        self._lease.tell(stages=self._stages)

    def close(self) -> None:
        """Say that nothing is used any more."""
        self._lease.__exit__(None, None, None)


@dataclass(frozen=True)
class Presence:
    """A run that has announced itself."""

    path: Path
    run_id: str
    holder: Holder
    stages: frozenset[tuple[str, str]]

    @property
    def alive(self) -> bool | None:
        """None when it is on another machine, where it cannot be asked."""
        return runs_here(self.holder)


def presences(root: Path) -> list[Presence]:
    """Return the runs that have announced themselves in a store, dead ones included."""
    found = []
    for path in sorted((root / RUNNING).glob("[!.]*.json")):
        holder = read_holder(path)
        try:
            told = read_json(path)
            if holder is not None:
                found.append(Presence(path, told["run_id"], holder, frozenset((stage, key) for stage, key in told["stages"])))
        except (OSError, ValueError, KeyError, TypeError):  # it has left meanwhile
            continue
    return found


def present_runs(root: Path) -> set[str]:
    """Return the ids of the runs that go on, as far as can be told from this machine."""
    return {p.run_id for p in presences(root) if p.alive is not False}
