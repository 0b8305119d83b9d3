"""A cap on the disk that a search's checkpoints take: the worst trials' go first."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.housekeeping.keeping import Kept, promised_stages
from flows.housekeeping.living import Living
from flows.housekeeping.removal import Item, Remover, tree_bytes
from flows.runs import read_runs
from flows.store import Store


@dataclass
class _Training:
    key: str
    best: float = -math.inf  # negated where less is better
    runs: bool = True


class Room:
    """Follows a search's events, and removes trainings when they take too much. The best so far and what still runs stay.

    Args:
        store: that holds the trainings.
        most_gib: they may take; None for no cap.
        mode: whether a greater or a smaller value is better.
        run_id: of the run that searches: what runs other than its trials need stays, too.
    """

    def __init__(self, store: Store, most_gib: float | None, mode: str, run_id: str) -> None:
        self._store, self._run_id, self._sign = store, run_id, 1.0 if mode == "max" else -1.0
        self._most_bytes = math.inf if most_gib is None else most_gib * 2**30
        self._trainings: dict[str, _Training] = {}

    def event(self, event: dict[str, Any]) -> None:
        """Take a line of the search's journal."""
        if event["kind"] == "result":
            training = self._trainings.setdefault(event["trial"], _Training(event["training"]))
            training.key, training.runs = event["training"], True
            if event["value"] is not None:
                training.best = max(training.best, self._sign * event["value"])
        elif event["kind"] in ("end", "error") and event["trial"] in self._trainings:
            self._trainings[event["trial"]].runs = False
            if self._most_bytes < math.inf:
                self._make_room()

    def _make_room(self) -> None:
        taken = {t.key: sum(tree_bytes(path) for path in self._folders(t.key)) for t in self._trainings.values()}
        best = max(t.best for t in self._trainings.values())
        spare = sorted((t for t in self._trainings.values() if not t.runs and t.best < best), key=lambda t: t.best)
        while sum(taken.values()) > self._most_bytes and spare:
            key = spare.pop(0).key
            items = [Item("partial" if p.suffix else "stage", p, taken[key], "of a trial", ("train", key)) for p in self._folders(key)]
            Remover(self._store, Living(self._store.root), self._needed_by_others).remove(items)
            taken[key] = sum(tree_bytes(path) for path in self._folders(key))

    def _folders(self, key: str) -> list[Path]:
        train = self._store.root / "stages" / "train"
        return [path for path in (train / key, train / f"{key}.partial") if path.is_dir()]

    def _needed_by_others(self) -> Kept:
        others = (run for run in read_runs(self._store) if run.part_of != self._run_id and run.run_id != self._run_id)
        needed = {stage: f"{run.run_id} needs it too" for run in others for stage in run.needs}
        return Kept({}, {**needed, **promised_stages(self._store)})
