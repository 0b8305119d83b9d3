"""What slows or stops DVC: sets of very many small files, locks, a file of locks that is no JSON; and its telemetry."""

from __future__ import annotations

import configparser
import json
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import psutil

from components.data.params import PREPARED, RAW
from components.training.doctor.finding import Finding
from flows.machine.machine import Machine, found_size

_MANY_FILES = 10_000
_SMALL_BYTES = 64 << 10
_WEIGHED = 100  # files whose sizes are looked at
_LOCKS = ("lock", "rwlock", "rwlock.lock", "modelyard-params.lock", "modelyard-repro.lock")


def small_files(machine: Machine) -> Finding:
    """No data set of tens of thousands of small files (D1)."""
    sets = [path for folder in (RAW, PREPARED) for path in sorted((machine.root / folder).glob("*")) if path.is_dir()]
    slow = [told for path in sets if (told := _slow(machine, path))]
    return Finding(
        "warn" if slow else "ok",
        "; ".join(slow) if slow else f"{len(sets)} sets, none of many small files",
        f"under {_MANY_FILES:,} files a set: 20,000 files of 600 bytes took DVC 14.5 s to add and 2.5 s to look at, one tar of them 1.7 s",
        "keep such a set in its archive (`unpack: false`): the reader looks into it, and what it prepares are shards",
    )


def _slow(machine: Machine, folder: Path) -> str | None:
    files = list(islice(_files(folder), _MANY_FILES))
    if len(files) < _MANY_FILES:
        return None
    weighed = files[:: _MANY_FILES // _WEIGHED]
    mean = sum(entry.stat(follow_symlinks=False).st_size for entry in weighed) / len(weighed)
    return f"{folder.relative_to(machine.root)} has {_MANY_FILES:,} or more of {found_size(mean)}" if mean < _SMALL_BYTES else None


def _files(folder: Path | str) -> Iterator[os.DirEntry[str]]:
    folders = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            else:
                yield entry
    for path in folders:
        yield from _files(path)


def lock_files(machine: Machine) -> Finding:
    """Where several people work in one folder, everybody may write its lock files."""
    folder = machine.root / ".dvc" / "tmp"
    foreign = [name for name in _LOCKS if not _may_write(folder / name)]
    return Finding(
        "fail" if foreign else "ok",
        f"may not be written by you: {', '.join(foreign)}" if foreign else "yours",
        "lock files that everyone who works in this folder may write: DVC and `modelyard run` stop at the first that they may not",
        f"chmod a+rw {folder}/*lock, or a checkout each",
    )


def locks(machine: Machine) -> Finding:
    """Nobody's lock is in the way. One of a process that is gone is DVC's to remove, and it does (D4)."""
    path = machine.root / ".dvc" / "tmp" / "rwlock"
    try:
        holders = list(_holders(json.loads(path.read_text(encoding="utf-8"))))
    except FileNotFoundError:
        holders = []
    except (ValueError, OSError, AttributeError, KeyError, TypeError):
        return Finding("fail", f"{path} holds no locks of DVC's form", "what DVC wrote: it refuses to work with any other", f"rm {path}")
    live = {pid: command for pid, command in holders if psutil.pid_exists(pid)}
    dead = len({pid for pid, _ in holders} - set(live))
    at_work = "; ".join(f"process {pid} is at work: {command}" for pid, command in live.items())
    return Finding(
        "warn" if live else "ok",
        at_work or (f"{dead} of processes that are gone, which DVC removes" if dead else "none"),
        "no DVC at work here: a run that needs the same data waits for it, ten minutes at most",
        "wait for it, or end it",
    )


def _holders(plain: dict[str, Any]) -> Iterator[tuple[int, str]]:
    """Pid and command of every lock: one writer a path, or several readers."""
    for infos in (*plain.get("write", {}).values(), *plain.get("read", {}).values()):
        for info in infos if isinstance(infos, list) else [infos]:
            if info:
                yield int(info["pid"]), str(info["cmd"])


def _may_write(path: Path) -> bool:
    """True when a file can be opened to write, or is not there."""
    try:
        os.close(os.open(path, os.O_WRONLY))
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def analytics(machine: Machine) -> Finding:
    """DVC sends no reports (D7). Runs switch them off themselves; who types `dvc` has the configuration."""
    off = bool(machine.environment.get("DVC_NO_ANALYTICS")) or _configured(machine) in ("false", "no", "off", "0", "n", "f")
    return Finding(
        "ok" if off else "warn",
        "off" if off else "on",
        "off: else each `dvc` that you type sends a report, and waits where no network is",
        "dvc config core.analytics false",
    )


def _configured(machine: Machine) -> str:
    """core.analytics by DVC's files, the nearest first."""
    home = Path(machine.environment.get("XDG_CONFIG_HOME") or machine.home / ".config")
    for path in (machine.root / ".dvc" / "config.local", machine.root / ".dvc" / "config", home / "dvc" / "config"):
        parser = configparser.ConfigParser(strict=False, interpolation=None)
        try:
            parser.read_string(path.read_text(encoding="utf-8"))
        except (OSError, configparser.Error):
            continue
        if parser.has_option("core", "analytics"):
            return parser.get("core", "analytics").strip().lower()
    return "true"
