"""Who works in the store, and what attempts that were killed have left. All of it is mended by the next run; people want to know."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from components.training.doctor.finding import Finding
from flows.lease import LOST_SECONDS, Holder, is_dead, read_holder, runs_here
from flows.machine.machine import Machine, found_size
from flows.processes import marked

_OLD_DAYS = 7
_DAY_SECONDS = 86_400
_TOLD = 3


def leases(machine: Machine) -> list[Finding]:
    """Live attempts are told, dead ones warned of, and so is what they left running."""
    held = {path.stem: (path, holder) for path in sorted((machine.store / "leases").glob("*.json")) if (holder := read_holder(path)) is not None}
    dead = {name: holder for name, (path, holder) in held.items() if _is_dead(machine, path, holder)}
    alive = [f"{name} (process {holder.pid} on {holder.host})" for name, (_, holder) in held.items() if name not in dead]
    processes = marked(*(holder.token for holder in dead.values())) if dead else []
    return [
        Finding(
            "warn" if dead else "ok",
            f"killed in the middle: {_some(list(dead))}" if dead else f"at work: {_some(alive)}" if alive else "nobody is at work",
            "no lease of a dead attempt: it shows a run that was killed",
            "run the same command again: it takes over and goes on from there",
        ),
        Finding(
            "warn" if processes else "ok",
            f"still running: {', '.join(str(p.pid) for p in processes)}" if processes else "none left behind",
            "nothing runs on when its attempt is dead: it takes memory and GPUs",
            f"run the same command again, which ends them; or kill -9 {' '.join(str(p.pid) for p in processes)}",
            name="processes of dead attempts",
        ),
    ]


def _is_dead(machine: Machine, path: Path, holder: Holder) -> bool:
    """As the lease judges it; an attempt on another machine by the age of its last beat, seen once."""
    here = runs_here(holder)
    return not here if here is not None else machine.wall() - path.stat().st_mtime > LOST_SECONDS


def leftovers(machine: Machine) -> list[Finding]:
    """Stages that were interrupted long ago, files that were put aside as damaged, mailboxes of dead drivers."""
    unfinished, damaged = _folders(machine, ".partial"), _folders(machine, ".damaged-")
    old = [path for path in unfinished if machine.wall() - path.stat().st_mtime > _OLD_DAYS * _DAY_SECONDS]
    orphans = [path for path in (machine.store / "mailboxes").glob("*") if is_dead(path / "driver.json")]
    return [
        Finding(
            "warn" if old else "ok",
            _told(old, f"interrupted over {_OLD_DAYS} days ago") if old else _told(unfinished, "interrupted") if unfinished else "none",
            "interrupted stages are continued by the same command; old ones only take room",
            f"run their commands again, or rm -r {' '.join(map(str, old[:_TOLD]))}",
            name="interrupted stages",
        ),
        Finding(
            "warn" if damaged else "ok",
            _told(damaged, "put aside") if damaged else "none",
            "no damaged stage: a file was changed or lost after it was written, by a person or a disk",
            f"find out why, then rm -r {' '.join(map(str, damaged[:_TOLD]))}",
            name="damaged stages",
        ),
        Finding("ok", f"{len(orphans)}, which the next run on Ray removes" if orphans else "none", name="mailboxes of dead drivers"),
    ]


def _folders(machine: Machine, sign: str) -> list[Path]:
    """The folders of stages whose name has a sign after the key, but for those that are being worked in."""
    return sorted(path for path in _stages(machine.store) if sign in path.name and not _held(machine.store, path))


def _stages(store: Path) -> Iterator[Path]:
    try:
        for stage in sorted((store / "stages").iterdir()):
            yield from (Path(entry.path) for entry in os.scandir(stage) if entry.is_dir() and "." in entry.name)
    except OSError:
        return


def _held(store: Path, path: Path) -> bool:
    return (store / "leases" / f"{path.parent.name}-{path.name.partition('.')[0]}.json").exists()


def _told(folders: list[Path], what: str) -> str:
    size = sum(entry.stat().st_size for folder in folders[:_TOLD] for entry in folder.rglob("*") if entry.is_file())
    at_least = "at least " if len(folders) > _TOLD else ""
    return f"{len(folders)} {what} ({at_least}{found_size(size)}): {_some([f'{p.parent.name}/{p.name}' for p in folders])}"


def _some(names: list[str]) -> str:
    return ", ".join(names[:_TOLD]) + (f" and {len(names) - _TOLD} more" if len(names) > _TOLD else "")
