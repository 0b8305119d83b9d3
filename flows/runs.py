"""The runs of a store, read from `<store>/runs/<run_id>/`: which there are, how they stand, which stages they need."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from components.errors import UserError, nearest
from components.files import read_object, write_json
from flows.in_use import present_runs
from flows.store import Store

PINNED = "pinned.json"
_SHOWN = 8  # names in a message
_IN_STORE = re.compile(r"stages/(\w+)/([0-9a-f]{16})\b")


@dataclass(frozen=True)
class Run:
    """One run, as its files tell."""

    directory: Path
    record: dict[str, Any]  # run.json
    decisions: dict[str, Any]  # decisions.json: of the last attempt
    goes_on: bool  # some process has announced it (flows/in_use.py)

    @property
    def run_id(self) -> str:
        return self.directory.name

    @property
    def experiment(self) -> str:
        return str(self.record.get("experiment", ""))

    @property
    def status(self) -> str:
        """finished, failed, interrupted, trained (for another run), or running: what was running when its process was killed is interrupted."""
        told = str(self.record.get("status", "running"))
        return "interrupted" if told == "running" and not self.goes_on else told

    @property
    def started(self) -> str:
        return str(self.record.get("started", ""))

    @property
    def part_of(self) -> str | None:
        """The id of the run that this one was a trial of."""
        return self.record.get("part_of")

    @property
    def pinned(self) -> bool:
        return (self.directory / PINNED).is_file()

    @cached_property
    def stages(self) -> dict[str, str]:
        """The key of each stage, as far as it came; `upstream.<name>` is the train stage that it builds on."""
        told = {name: stage["key"] for name, stage in self.record.get("stages", {}).items()}
        return told | {f"upstream.{name}": key for name, key in self.record.get("upstream", {}).items()}

    @cached_property
    def needs(self) -> frozenset[tuple[str, str]]:
        """Every stage, `(stage, key)`, without which this run could not be reused, gone on with, or looked at."""
        needed = {("train" if name.startswith("upstream.") else name, key) for name, key in self.stages.items()}
        needed |= {(name, stage["key"]) for name, stage in self.decisions.get("stages", {}).items()}
        resumed = str(self.record.get("spec", {}).get("resume", {}).get("checkpoint") or "")
        return frozenset(needed | {(m[1], m[2]) for m in _IN_STORE.finditer(resumed)})


def read_runs(store: Store, going_on: set[str] | None = None) -> list[Run]:
    """Return every run of a store, in the order in which they were started.

    Args:
        going_on: ids of the runs that go on; those that this machine does not know to be dead, where it is not given.
    """
    going_on = present_runs(store.root) if going_on is None else going_on
    found = [_run(folder, going_on) for folder in (store.root / "runs").glob("[!.]*") if folder.is_dir()]
    return sorted(found, key=lambda run: (run.started, run.run_id))


def read_run(store: Store, word: str) -> Run:
    """Return the run whose id begins with a word. Raises UserError as `find_run` does."""
    return _run(find_run(store, word), present_runs(store.root))


def find_run(store: Store, word: str) -> Path:
    """Return the directory of the run whose id begins with a word.

    Raises:
        UserError: none does, or several do.
    """
    names = sorted(p.name for p in (store.root / "runs").glob("[!.]*") if p.is_dir())
    return store.root / "runs" / chosen(word, names, store.root)


def chosen(word: str, names: Sequence[str], root: Path) -> str:
    """Return the one run id that a word is, or begins.

    Args:
        names: of the runs that are known.
        root: of the store, for the message.

    Raises:
        UserError: none does, or several do.
    """
    fitting = [word] if word in names else [name for name in names if word and name.startswith(word)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise UserError(f"'{word}' is ambiguous: {len(fitting)} runs begin so", received=word, expected=f"more of one of: {_some(fitting)}")
    raise UserError(
        f"no run of this store begins with '{word}'{nearest(word, names)}",
        received=f"{word}, in {root}",
        expected=f"one of: {_some(names)}" if names else "a run, and this store has none yet",
        mend="`modelyard runs list` shows the runs; --store FOLDER names another store",
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (" ..." if len(names) > _SHOWN else "")


def last_run(store: Store) -> Path:
    """Return the directory of the run that was begun or reused last.

    Raises:
        UserError: there is none.
    """
    run_id = read_object(store.root / "last" / "run.json").get("run_id")
    if run_id is None:
        raise UserError("nothing has run in this store", received=store.root, mend="begin with `modelyard run`, or name another store with --store")
    return find_run(store, run_id)


def pin(store: Store, word: str, *, pinned: bool) -> dict[str, Any]:
    """Pin a run, which then is never removed, or let go of it; entered in the ledger. Returns `{run_id, pinned, changed}`.

    Raises:
        UserError: there is no such run.
    """
    directory = find_run(store, word)
    path = directory / PINNED
    changed = path.is_file() != pinned
    if changed:
        store.ledger.append("pinned" if pinned else "unpinned", {"run_id": directory.name})
        if pinned:
            write_json(path, {"at": datetime.now(UTC).isoformat(timespec="seconds")})
        else:
            path.unlink()
    return {"run_id": directory.name, "pinned": pinned, "changed": changed}


def pin_text(found: dict[str, Any]) -> str:
    """What `pin` did, for people."""
    state = "pinned" if found["pinned"] else "not pinned"
    return f"{found['run_id']} is {state}{'' if found['changed'] else ' already'}"


def champions(store: Store) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name of each alias and the body of its newest entry in the ledger: `run_id`, or `checkpoint_sha256`, is what it stands for."""
    newest = {str(e.body.get("alias", e.body.get("name", ""))): e.body for e in store.ledger.entries() if e.kind == "alias"}
    yield from newest.items()


def _run(directory: Path, going_on: set[str]) -> Run:
    return Run(directory, read_object(directory / "run.json"), read_object(directory / "decisions.json"), directory.name in going_on)
