"""`modelyard gc`: what a store could be without, how large it is, and getting rid of it. docs/store.md has the rules."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from components.errors import UserError
from flows.housekeeping.keeping import Kept, keeping
from flows.housekeeping.living import Living
from flows.housekeeping.removal import ASIDE, Item, Remover, tree_bytes
from flows.in_use import RUNNING
from flows.lease import is_dead
from flows.store import Store
from flows.units import spell_bytes

_STAGE = re.compile(r"([0-9a-f]{16})(\.partial)?")
_TEMPORARY_SECONDS = 3600.0  # without a change, after which a half-written file is nobody's any more


def collect_garbage(root: Path, store: Store, keep: int, *, remove: bool, announce: Callable[[str], None]) -> dict[str, Any]:
    """Say what a store could be without, and with `remove` free it.

    Args:
        root: the project's folder.
        keep: how many of the newest finished runs of each experiment stay, beside the best one.
        announce: takes one line for the person who watches.

    Returns:
        `items` [{kind, path, bytes, why}], `bytes` in all, `kept` {run id: why}; of a removal also `freed` bytes and `left` [{path, why}].

    Raises:
        UserError: `keep` is negative.
    """
    if keep < 0:
        raise UserError("--keep is no number of runs", received=keep, expected="0 or more")
    living = Living(store.root)
    living.watch(announce)
    remover = Remover(store, living, lambda: keeping(root, store, keep, living))
    kept = remover.kept()
    items = survey(store, kept, living)
    result: dict[str, Any] = {
        "store": str(store.root),
        "items": [{"kind": i.kind, "path": str(i.path.relative_to(store.root)), "bytes": i.bytes, "why": i.why} for i in items],
        "bytes": sum(i.bytes for i in items),
        "kept": kept.runs,
        "removed": remove,
    }
    if remove:
        gone, left = remover.remove(items)
        result["freed"] = sum(i.bytes for i in gone)
        result["left"] = [{"path": str(i.path.relative_to(store.root)), "why": why} for i, why in left]
    return result


def survey(store: Store, kept: Kept, living: Living) -> list[Item]:
    """Return what a store could be without. Leases come first: their dead holders' processes are ended before their stages go."""
    return [*_leases(store, living), *_stages(store, kept, living), *_asides(store), *_mailboxes(store), *_populations(store), *_temporaries(store)]


def _stages(store: Store, kept: Kept, living: Living) -> Iterator[Item]:
    used = living.users()
    for path in sorted((store.root / "stages").glob("*/[!.]*")):
        stage, _, damaged = path.parent.name, *path.name.partition(".damaged-")[1:]
        match = _STAGE.fullmatch(path.name)
        if damaged:
            yield Item("damaged", path, tree_bytes(path), "its files are not what its manifest says; the stage has run again")
        elif match is not None and not {(stage, match[1])} & {*kept.stages, *used} and not living.has(store.lease(stage, match[1])):
            kind, why = ("partial", "nobody works on it") if match[2] else ("stage", "no run that is kept needs it")
            yield Item(kind, path, tree_bytes(path), why, (stage, match[1]))


def _asides(store: Store) -> Iterator[Item]:
    for path in sorted([*store.root.glob(f"stages/*/.*{ASIDE}*"), *store.root.glob(f"runs/.*{ASIDE}*"), *store.root.glob(f"mailboxes/.*{ASIDE}*")]):
        yield Item("removed", path, tree_bytes(path), "an earlier removal was interrupted")


def _mailboxes(store: Store) -> Iterator[Item]:
    for path in sorted((store.root / "mailboxes").glob("[!.]*")):
        if is_dead(path / "driver.json"):
            yield Item("mailbox", path, tree_bytes(path), "its driver is dead")


def _populations(store: Store) -> Iterator[Item]:
    """Checkpoints that a search's trials handed on (flows/search/population.py)."""
    for path in sorted((store.root / "population").glob("*")):
        if not any((store.root / "stages" / "tune" / f"{path.name}{suffix}").is_dir() for suffix in ("", ".partial")):
            yield Item("population", path, tree_bytes(path), "the search that they were for is gone")


def _leases(store: Store, living: Living) -> Iterator[Item]:
    for path in sorted([*(store.root / "leases").glob("[!.]*.json"), *(store.root / RUNNING).glob("[!.]*.json")]):
        if not living.has(path):
            yield Item("lease", path, tree_bytes(path), "its holder is dead")


def _temporaries(store: Store) -> Iterator[Item]:
    """Files that a killed process left half-written. Inside of stages the next attempt sees to them; elsewhere the file system's own clock tells."""
    now = _now(store)
    folders = sorted(p for p in store.root.iterdir() if p.is_dir() and p.name not in ("stages", "mailboxes"))
    for path in [*sorted(store.root.glob(".tmp-*")), *(p for folder in folders for p in sorted(folder.rglob(".tmp-*")))]:
        with suppress(FileNotFoundError):  # it was renamed to what it was meant to be
            if now - path.stat().st_mtime > _TEMPORARY_SECONDS:
                yield Item("temporary", path, tree_bytes(path), "half-written, and unchanged for an hour")


def _now(store: Store) -> float:
    """The time by the clock of the store's disk, which need not be this machine's."""
    lock = store.root / RUNNING / ".lock"
    lock.parent.mkdir(exist_ok=True)
    lock.touch()
    return lock.stat().st_mtime


def garbage_text(found: dict[str, Any]) -> str:
    """What gc found, or did, for people."""
    lines = [f"store {found['store']}", ""]
    for kind in dict.fromkeys(item["kind"] for item in found["items"]):
        items = [item for item in found["items"] if item["kind"] == kind]
        lines.append(f"{kind}: {len(items)}, {spell_bytes(sum(item['bytes'] for item in items))}")
        lines += [f"  {spell_bytes(item['bytes']):>10}  {item['path']}  ({item['why']})" for item in items]
    lines += [*([""] if found["items"] else []), "kept runs"] + [f"  {run_id}: {why}" for run_id, why in found["kept"].items()]
    lines += [f"left: {left['path']}: {left['why']}" for left in found.get("left", [])]
    if found["removed"]:
        lines += ["", f"freed {spell_bytes(found['freed'])}"]
    elif found["items"]:
        lines += ["", f"would free {spell_bytes(found['bytes'])}; `modelyard gc --yes` does it"]
    else:
        lines += ["", "nothing to free"]
    return "\n".join([*lines, "data/ is DVC's: `dvc gc --workspace` frees all of its cache that this checkout does not use"])
