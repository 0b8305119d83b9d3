"""Taking things out of a store beside runs that go on: entered in the ledger, renamed aside, then deleted. Killed in between, the next gc ends it.

A stage is renamed under the locks under which runs name what they use (flows/in_use.py) and take leases, if nobody uses it then.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from flows.exclusive import exclusive
from flows.housekeeping.keeping import Kept, StageKey
from flows.housekeeping.living import Living
from flows.in_use import RUNNING
from flows.lease import read_holder, runs_here
from flows.processes import end_marked
from flows.store import Store

ASIDE = ".removed-"
_TRIES = 20


@dataclass(frozen=True)
class Item:
    """One thing to remove."""

    kind: str  # stage | partial | damaged | removed | run | mailbox | population | lease | temporary
    path: Path
    bytes: int
    why: str
    stage: StageKey | None = None


class Remover:
    """Removes items of a store, each if it may still be removed when its turn comes.

    Args:
        store: where they are.
        living: who is alive.
        keeping: decides anew what is kept; called again when a run has begun or ended since.
    """

    def __init__(self, store: Store, living: Living, keeping: Callable[[], Kept]) -> None:
        self.store, self.living, self._keeping = store, living, keeping
        self._seen: object = None
        self._kept = Kept({}, {})

    def kept(self) -> Kept:
        """Return what is kept now."""
        newest = self._newest()
        if newest != self._seen:
            self._kept, self._seen = self._keeping(), newest
        return self._kept

    def remove(self, items: Iterable[Item]) -> tuple[list[Item], list[tuple[Item, str]]]:
        """Remove items, one remover at a time. Returns those that are gone, and those that are not, each with the reason."""
        gone, left = [], []
        with exclusive(self.store.root / ".gc.lock"):
            for item in items:
                reason = self._remove(item)
                if reason is None:
                    gone.append(item)
                else:
                    left.append((item, reason))
        return gone, left

    def _remove(self, item: Item) -> str | None:
        if item.stage is not None:
            return self._remove_stage(item, item.stage)
        if item.kind == "lease":
            return self._remove_lease(item.path)
        delete(put_aside(item.path) if item.kind == "mailbox" and item.path.exists() else item.path)
        return None

    def _remove_stage(self, item: Item, stage: StageKey) -> str | None:
        for _ in range(_TRIES):
            kept = self.kept()
            with exclusive(self.store.root / RUNNING / ".lock"), exclusive(self.store.root / "leases" / ".lock"):
                if self._newest() != self._seen:
                    continue  # a run has begun or ended: what is kept is to be decided anew
                user = self.living.users().get(stage)
                if user is not None:
                    return f"{user} has begun to use it"
                if self.living.has(self.store.lease(*stage)):
                    return "somebody works on it"
                if stage in kept.stages:
                    return kept.stages[stage]
                if not item.path.exists():
                    return None
                if item.kind == "stage":
                    self.store.enter_removal(*stage)
                aside = put_aside(item.path)
            delete(aside)
            return None
        return "runs begin and end too fast to tell whether one needs it"

    def _remove_lease(self, path: Path) -> str | None:
        """As whoever takes a stage over: what its dead holder has left running on this machine is ended first."""
        holder = read_holder(path)
        if holder is not None and runs_here(holder) is False:
            end_marked(holder.token)
        with exclusive(path.parent / ".lock"):
            if self.living.has(path):
                return "its holder is alive"
            path.unlink(missing_ok=True)
        return None

    def _newest(self) -> object:
        """Changes whenever a run begins a stage or ends: it then writes last/run.json anew."""
        try:
            status = (self.store.root / "last" / "run.json").stat()
        except OSError:
            return ()
        return status.st_ino, status.st_mtime_ns


def put_aside(path: Path) -> Path:
    """Rename something so that nobody finds it any more, and the next gc knows it for what it is."""
    aside = path.with_name(f".{path.name}{ASIDE}{time.time_ns()}")
    os.replace(path, aside)
    return aside


def delete(path: Path) -> None:
    """Delete a file or a folder, or what is left of it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def tree_bytes(path: Path) -> int:
    """Return the size of a file, or of all files in a folder."""
    try:
        if not path.is_dir():
            return path.lstat().st_size
        return sum(entry.lstat().st_size for entry in path.rglob("*") if not entry.is_dir())
    except OSError:  # removed meanwhile
        return 0
