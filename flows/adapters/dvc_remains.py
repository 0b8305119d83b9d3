"""What a killed DVC leaves half-written, and mending it: dvc.lock and its table of locks are written over in place."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import psutil
import yaml

from components.files import atomic_path, read_json
from flows.exclusive import exclusive


def mend(root: Path) -> Path:
    """Make DVC able to start in a project's folder after one that was killed there, and keep a copy of dvc.lock for the next time.

    Nobody else of ours may run DVC there meanwhile.

    Returns:
        The copy, to be removed when DVC has ended by itself.
    """
    lock, kept = root / "dvc.lock", root / ".dvc" / "tmp" / "modelyard-dvc.lock"
    nobody_runs = _remove_dead_locks(root / ".dvc" / "tmp" / "rwlock")
    if kept.is_file():
        if not _outs(kept) <= _outs(lock):
            os.replace(kept, lock)
        for left in (root / ".dvc" / "cache").rglob("*.tmp") if nobody_runs else ():
            left.unlink(missing_ok=True)
    if lock.is_file():
        with atomic_path(kept) as copy:
            shutil.copyfile(lock, copy)
    return kept


def _outs(lock: Path) -> set[tuple[str, str]]:
    """Return the (stage, output) pairs of which a dvc.lock tells; none when it is torn so that it is no YAML any more, or absent."""
    try:
        stages = yaml.safe_load(lock.read_text(encoding="utf-8"))["stages"]
        return {(name, out["path"]) for name, stage in stages.items() for out in stage["outs"]}
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError):
        return set()


def _remove_dead_locks(path: Path) -> bool:
    """Remove DVC's table of locks when it names no running DVC, and return whether that is so.

    DVC fails on a torn table, and takes whoever was given a dead DVC's pid for that DVC.
    """
    with exclusive(path.with_name("rwlock.lock")):  # DVC's own
        if path.is_file() and any(_is_dvc(pid) for pid in _pids(path)):
            return False
        path.unlink(missing_ok=True)
        return True


def _pids(path: Path) -> set[int]:
    try:
        table = read_json(path)
        holders = [holder for holders in table.get("read", {}).values() for holder in holders]
        return {int(holder["pid"]) for holder in [*holders, *table.get("write", {}).values()]}
    except (ValueError, KeyError, TypeError, AttributeError):
        return set()


def _is_dvc(pid: int) -> bool:
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and any(Path(part).name == "dvc" for part in process.cmdline())
    except psutil.Error:
        return False
