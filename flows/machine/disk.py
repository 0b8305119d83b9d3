"""Folders that must be writable, room on their disks, and databases on a network."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from components.training.doctor.finding import Finding
from flows.machine.machine import Machine, found_size
from flows.project import MIN_FREE_BYTES

_ROOM_BYTES = 5 << 30  # the catalogue's data sets and a few runs
_FREE_FILES = 10_000
_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "gpfs", "beegfs", "ceph", "cephfs", "glusterfs", "afs", "9p"}
_NETWORK |= {"sshfs", "s3fs", "gcsfuse", "rclone"}
_DATABASES = ("PREFECT_SERVER_DATABASE_CONNECTION_URL", "PREFECT_API_DATABASE_CONNECTION_URL")


def writable(machine: Machine) -> list[Finding]:
    """What a run writes into. Each is tried with a file that has no name."""
    folders = {
        "home": (machine.home, "Ray and W&B keep keys and settings there", "export HOME=/path/to/folder"),
        "store": (machine.store, "every stage and run is kept there", "mend its permissions, or store=/path/to/folder"),
        "PREFECT_HOME": (machine.prefect_home, "Prefect's database lies there", "export PREFECT_HOME=/path/to/folder"),
        "TMPDIR": (machine.temporary, "Ray's sockets and half-made archives lie there", "export TMPDIR=/path/to/folder"),
    }
    return [_writable(name, *told) for name, told in folders.items()]


def _writable(name: str, folder: Path, reason: str, mend: str) -> Finding:
    complaint = _complaint(folder)
    wanted = f"a folder that can be written: {reason}"
    return Finding("fail" if complaint else "ok", complaint or str(folder), wanted, mend, name=f"{name} writable")


def _complaint(folder: Path) -> str | None:
    """Why a folder cannot be written, or made; None when it can."""
    try:
        place = existing(folder)
        with tempfile.TemporaryFile(dir=place) as probe:
            probe.write(b"x")
    except OSError as error:
        return f"{folder}: {error.strerror}"
    return None


def existing(folder: Path) -> Path:
    """Return a folder, or the nearest one above it that is there."""
    while not folder.exists():
        folder = folder.parent
    return folder


def room(machine: Machine) -> list[Finding]:
    """Space and inodes, once a disk."""
    disks: dict[int, list[tuple[str, Path]]] = {}
    for name, folder in (("store", machine.store), ("data", machine.root / "data"), ("tmp", machine.temporary)):
        try:
            place = existing(folder)
            disks.setdefault(place.stat().st_dev, []).append((name, place))
        except OSError:
            continue  # `writable` tells
    return [_room(", ".join(name for name, _ in found), found[0][1]) for found in disks.values()]


def _room(names: str, folder: Path) -> Finding:
    status = os.statvfs(folder)
    free, files = status.f_bavail * status.f_frsize, status.f_favail
    counted = status.f_files > 0  # some file systems make inodes as they need them
    short = free < MIN_FREE_BYTES or (counted and files == 0)
    scarce = free < _ROOM_BYTES or (counted and files < _FREE_FILES)
    return Finding(
        "fail" if short else "warn" if scarce else "ok",
        f"{found_size(free)} and {f'{files:,}' if counted else 'any number of'} files free",
        f"{found_size(_ROOM_BYTES)} and {_FREE_FILES:,} files: data and checkpoints soon take that; below {found_size(MIN_FREE_BYTES)} no run starts",
        "free some space (`dvc gc --workspace` removes data sets that are no longer used), or store=/path/to/folder",
        name=f"room: {names}",
    )


def database(machine: Machine) -> Finding:
    """Prefect's SQLite database lies on a disk of this machine."""
    url = next((machine.environment[name] for name in _DATABASES if machine.environment.get(name)), "")
    if url and not url.startswith("sqlite"):
        return Finding("ok", f"Prefect uses {url.partition(':')[0]}")  # the rest may hold a password
    path = Path(url.partition("///")[2] or machine.prefect_home / "prefect.db")
    kind = filesystem(machine.proc / "self" / "mountinfo", path)
    return Finding(
        "warn" if kind.removeprefix("fuse.") in _NETWORK else "ok",
        f"{path} lies on {kind or 'a disk of an unknown kind'}",
        "a disk of this machine: over a network SQLite's locks fail, and Prefect says 'database is locked'",
        "export PREFECT_HOME=/path/on/a/local/disk, or let PREFECT_API_URL name a server",
    )


def filesystem(mounts: Path, path: Path) -> str:
    """Return the kind of file system that a path lies on (`ext4`, `nfs4`, `fuse.sshfs`), by the kernel's table; "" where there is none."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    resolved, best, kind = path.resolve(), -1, ""
    for line in lines:
        before, _, after = line.partition(" - ")
        folder = Path(before.split()[4].replace("\\040", " "))
        if resolved.is_relative_to(folder) and len(folder.parts) >= best:  # the last of two on one folder covers the other
            best, kind = len(folder.parts), after.split()[0]
    return kind
