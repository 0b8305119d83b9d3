"""Kills a process at a chosen step on the file system. It is on the PYTHONPATH of the chaos tests' commands alone, so that every Python process
that they start (Ray's workers and DVC included) loads it by itself; nothing of it is in the code that is tested.

CHAOS_FAULT names a JSON file:

    {"event": "os.rename",         Python's audit event, raised before the act
     "path": "<regex>",            of the path; of a rename, of "from -> to"
     "skip": 1,                    matches in a process to let pass
     "torn": false,                wait until the file that is being written over is half written
     "victim": "<regex>" | null,   of the command line of whom to kill; null: the process itself
     "mark": "NAME=value",         in the environment of everybody who may be killed
     "token": "/path"}             is made by who kills, and says whom: once in all processes
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

_WRITES = os.O_WRONLY | os.O_RDWR
_PATIENCE_SECONDS = 180.0  # for a victim that is still starting


def _arm(fault: dict[str, Any]) -> None:
    wanted, pattern, left = fault["event"], re.compile(fault["path"]), fault["skip"]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event != wanted or left < 0:
            return
        if event == "open" and not (arguments[2] & _WRITES and isinstance(arguments[0], (str, bytes, os.PathLike))):
            return
        text = " -> ".join(os.fsdecode(part) for part in arguments[: 2 if event == "os.rename" else 1])
        if not pattern.search(text):
            return
        left -= 1
        if left >= 0:
            return
        if fault["torn"]:
            threading.Thread(target=_kill_when_torn, args=(fault, text, Path(text).stat().st_size), daemon=True).start()
        else:
            _kill(fault)

    sys.addaudithook(hook)


def _kill_when_torn(fault: dict[str, Any], path: str, whole_bytes: int) -> None:
    while not 0 < Path(path).stat().st_size < whole_bytes:
        time.sleep(0.0005)
    _kill(fault)


def _kill(fault: dict[str, Any]) -> None:
    try:
        token = os.open(fault["token"], os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        return
    victim = os.getpid() if fault["victim"] is None else _find(fault["victim"], fault["mark"])
    os.write(token, f"{os.getpid()} kills {victim}: {_command(victim)[:120]}\n".encode())
    os.close(token)
    os.kill(victim, signal.SIGKILL)
    while _runs(victim):
        time.sleep(0.001)


def _find(pattern: str, mark: str) -> int:
    """Return a process by its command line and mark, rather another one than this."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        found = [pid for pid in _pids() if re.search(pattern, _command(pid)) and mark.encode() in _read(pid, "environ").split(b"\0") and _runs(pid)]
        if found:
            return max(found, key=lambda pid: pid != os.getpid())
        time.sleep(0.05)
    raise SystemExit(f"chaos: nobody to kill matches {pattern}")


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _command(pid: int) -> str:
    return _read(pid, "cmdline").replace(b"\0", b" ").decode(errors="replace").strip()


def _runs(pid: int) -> bool:
    state = _read(pid, "stat").rpartition(b")")[2].split()
    return bool(state) and state[0] not in (b"Z", b"X")


def _read(pid: int, name: str) -> bytes:
    try:
        with open(f"/proc/{pid}/{name}", "rb") as stream:
            return stream.read()
    except OSError:
        return b""


if "CHAOS_FAULT" in os.environ:
    with open(os.environ["CHAOS_FAULT"]) as _stream:
        _arm(json.load(_stream))
