"""What Ray stumbles over: other clusters on this host, its token, paths too long for a socket, small shared memory, few open files."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import psutil

from components.training.doctor.finding import Finding, Skipped
from flows.adapters.ray import OBJECT_STORE_BYTES
from flows.machine.machine import Machine, found_size

_SOCKET_BYTES = 107  # of an AF_UNIX path on Linux
_SESSION = "session_2026-11-21_13-33-49_818983_{pid}/sockets/plasma_store"  # the form of Ray's longest socket
_OPEN_FILES = 4096  # below it Ray itself warns
_FLAG = "--gcs-address="


def clusters(machine: Machine) -> Finding:
    """One cluster at most, or RAY_ADDRESS says which (R3); and the one that Ray remembers still runs."""
    running, address = _running(), machine.environment.get("RAY_ADDRESS")
    remembered = _remembered(machine)
    if remembered and remembered not in running and not address:
        wanted = "a cluster that runs: cluster.address=auto would look for this one for minutes"
        return Finding("warn", f"Ray remembers {remembered}, which is gone", wanted, f"rm {machine.ray_temporary / 'ray_current_cluster'}")
    if len(running) > 1 and not address:
        found = f"{len(running)} clusters: {', '.join(sorted(running))}"
        wanted = "one: Ray's cleaner of placement groups dies of 'Found multiple active Ray instances'"
        return Finding("warn", found, wanted, "export RAY_ADDRESS=HOST:PORT (`local` for one of your own), or end the others with `ray stop`")
    return Finding("ok", f"{', '.join(sorted(running)) or 'none runs'}" + (f", RAY_ADDRESS={address}" if address else ""))


def _running() -> set[str]:
    """The addresses of the clusters that have a process on this host, found as Ray finds them."""
    found = set()
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or []
        if line and Path(line[0]).name == "raylet":
            found |= {word.removeprefix(_FLAG) for word in line if word.startswith(_FLAG)}
    return found


def _remembered(machine: Machine) -> str:
    try:
        return (machine.ray_temporary / "ray_current_cluster").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def token(machine: Machine) -> Finding:
    """Where Ray finds its token, and who else does (R9). The token itself is never shown."""
    mode = machine.environment.get("RAY_AUTH_MODE", "").lower()
    if mode not in ("", "token", "disabled"):
        return Finding("fail", f"RAY_AUTH_MODE={mode}", "token or disabled: Ray takes nothing else", "unset RAY_AUTH_MODE")
    if mode == "disabled":
        wanted = "a token, as Ray has had by default since 2.59: without one whoever reaches the cluster runs code on it; from 2.61 others refuse it"
        return Finding("warn", "RAY_AUTH_MODE=disabled", wanted, "unset RAY_AUTH_MODE, then `ray get-auth-token --generate`")
    if machine.environment.get("RAY_AUTH_TOKEN"):
        return Finding("ok", "in RAY_AUTH_TOKEN")
    own = machine.home / ".ray" / "auth_token"
    named = machine.environment.get("RAY_AUTH_TOKEN_PATH")
    return _token_file(Path(named).expanduser() if named else own, own)


def _token_file(path: Path, own: Path) -> Finding:
    generate = "`ray get-auth-token --generate`, or mount the cluster's token there"
    try:
        empty = not path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        if path == own:
            return Finding("ok", "none yet: Ray makes one for a cluster of its own")
        return Finding("fail", f"{path} is not there", "the file that RAY_AUTH_TOKEN_PATH names: clusters started apart need one token", generate)
    except OSError as error:
        return Finding("fail", f"{path}: {error.strerror}", "a token that can be read: Ray starts no cluster without", "mend its permissions")
    if empty:
        return Finding("fail", f"{path} is empty", "a token: Ray takes the file for one, and every connection is refused", generate)
    if _readable_by_others(path):
        wanted = "readable by you alone: whoever has the token runs code on your clusters (Ray writes the file with your umask)"
        return Finding("warn", f"others may read {path}", wanted, f"chmod 600 {path}")
    return Finding("ok", f"in {path}")


def _readable_by_others(path: Path) -> bool:
    """True when group or others may read a file and pass through every folder above it."""
    mode, folders = path.stat().st_mode, [folder.stat().st_mode for folder in path.resolve().parents]
    return any(mode & read and all(folder & enter for folder in folders) for read, enter in ((0o040, 0o011), (0o004, 0o001)))


def socket_path(machine: Machine) -> Finding:
    """The longest socket path under Ray's temporary folder (R16)."""
    length = len(os.fsencode(machine.ray_temporary / _SESSION.format(pid=_largest_pid(machine))))
    return Finding(
        "ok" if length <= _SOCKET_BYTES else "fail",
        f"up to {length} bytes under {machine.ray_temporary}",
        f"at most {_SOCKET_BYTES}, the kernel's limit for a socket's path: Ray does not start",
        "export RAY_TMPDIR=/tmp, or another short path",
    )


def _largest_pid(machine: Machine) -> int:
    try:
        return int((machine.proc / "sys" / "kernel" / "pid_max").read_text()) - 1
    except (OSError, ValueError):
        return 4194303


def shared_memory(machine: Machine) -> Finding:
    """Room in /dev/shm for the object store of a cluster of our own (R16)."""
    if not machine.shared_memory.is_dir():
        raise Skipped(f"no {machine.shared_memory} here")
    status = os.statvfs(machine.shared_memory)
    free = status.f_bavail * status.f_frsize
    return Finding(
        "ok" if free >= OBJECT_STORE_BYTES else "warn",
        f"{found_size(free)} free in {machine.shared_memory}",
        f"{found_size(OBJECT_STORE_BYTES)}, Ray's object store: without them Ray puts it on the disk, which is slow",
        "start the container with --shm-size=1g, or remove what lies there",
    )


def open_files(machine: Machine) -> Finding:
    """How many files a process may open. Ray raises the soft limit to the hard one by itself, up to 65,536."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = hard == resource.RLIM_INFINITY
    return Finding(
        "ok" if unlimited or hard >= _OPEN_FILES else "warn",
        "no limit" if unlimited else f"{hard:,} open files a process",
        f"{_OPEN_FILES:,} or more: with fewer Ray's connections fail when there are many workers",
        "ulimit -Hn 65536, in a container --ulimit nofile=65536",
    )
