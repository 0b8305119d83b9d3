"""Hosts: network namespaces on one switch, each with an address, a loopback and a cable of its own. Needs root and iproute2.

What they share is the machine: kernel, processors, files (a store that all hosts see) and numbers of processes.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from tests.processes import until

_NAMESPACES = Path("/run/netns")
_PREFIX = "modelyard-"  # then the number of the process that made it, which tells the next one what is left of a killed one
_NUMBERS = itertools.count()
_SUBNET = "10.231.77"  # nobody outside the namespaces ever sees it


def missing() -> str:
    """Say what this machine lacks for hosts; "" when nothing."""
    if os.geteuid() != 0:
        return "needs root, to make network namespaces"
    if shutil.which("ip") is None:
        return "needs `ip`, of iproute2"
    probe = f"{_PREFIX}{os.getpid()}-probe"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True)
    if made.returncode:
        return f"cannot make a network namespace: {made.stderr.strip()}"
    _ip("netns", "del", probe)
    return ""


def _ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


@dataclass
class Host:
    """One namespace; its cable's other end is in the switch's."""

    name: str
    address: str
    cable: str
    switch: str

    def start(self, command: Sequence[str], env: Mapping[str, str], folder: Path, log: Path) -> subprocess.Popen[bytes]:
        """Start a command on this host, in a session of its own; what it says goes to a file."""
        with open(log, "ab") as output:
            return subprocess.Popen(
                ["ip", "netns", "exec", self.name, *command],
                cwd=folder, env=dict(env), stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip

    def cut(self) -> None:
        """Pull the cable: nobody is told, connections hang."""
        _ip("-n", self.switch, "link", "set", self.cable, "down")

    def mend(self) -> None:
        _ip("-n", self.switch, "link", "set", self.cable, "up")

    def lose(self, other: Host) -> None:
        """Drop silently what goes from here to another host; both reach everybody else."""
        _ip("-n", self.name, "route", "add", "blackhole", f"{other.address}/32")

    def find(self, other: Host) -> None:
        """Undo `lose`."""
        _ip("-n", self.name, "route", "del", "blackhole", f"{other.address}/32")

    def processes(self) -> list[psutil.Process]:
        """Return what runs here."""
        found = []
        for pid in _ip("netns", "pids", self.name).split():
            try:
                process = psutil.Process(int(pid))
                if process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.NoSuchProcess:
                continue
        return found

    def kill(self) -> None:
        """End everything here at once (SIGKILL), and what it was just starting."""

        def none_left() -> bool:
            left = self.processes()
            for process in left:
                process.kill()
            return not left

        assert until(none_left, 30), f"{self.name}: {self.processes()}"

    def runs(self, word: str) -> bool:
        """Tell whether a process here has a word in its command line."""
        return any(word in " ".join(_quietly(p.cmdline)) for p in self.processes())

    def writes(self, name: str) -> bool:
        """Tell whether a process here has a file of this name open."""
        return any(Path(f.path).name == name for p in self.processes() for f in _quietly(p.open_files))


def _quietly(ask: Callable[[], list[Any]]) -> list[Any]:
    """Ask a process something; one that has just ended answers nothing."""
    try:
        return ask()
    except psutil.Error:
        return []


class Network:
    """A switch and its hosts, for a `with` block; in the end nothing of it is left, whatever has happened.

    The switch has a namespace of its own: whoever removes the namespaces has removed the cables and the bridge with them.
    """

    def __init__(self, names: Sequence[str]) -> None:
        mark = f"{_PREFIX}{os.getpid()}-{next(_NUMBERS)}"
        self.switch = f"{mark}-switch"
        self.hosts = [Host(f"{mark}-{name}", f"{_SUBNET}.{i}", f"cable{i}", self.switch) for i, name in enumerate(names, 1)]

    def __enter__(self) -> list[Host]:
        remove_orphans()
        try:
            _ip("netns", "add", self.switch)
            _ip("-n", self.switch, "link", "add", "bridge", "type", "bridge")
            _ip("-n", self.switch, "link", "set", "bridge", "up")
            for host in self.hosts:
                self._connect(host)
        except BaseException:
            self.close()
            raise
        return self.hosts

    def _connect(self, host: Host) -> None:
        _ip("netns", "add", host.name)
        _ip("-n", self.switch, "link", "add", host.cable, "type", "veth", "peer", "name", "eth0", "netns", host.name)
        _ip("-n", self.switch, "link", "set", host.cable, "master", "bridge", "up")
        _ip("-n", host.name, "address", "add", f"{host.address}/24", "dev", "eth0")
        for link in ("lo", "eth0"):
            _ip("-n", host.name, "link", "set", link, "up")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End what runs on the hosts and remove them."""
        _remove(self.left())

    def left(self) -> list[str]:
        """Return the names of namespaces that are still there."""
        return [name for name in [*(host.name for host in self.hosts), self.switch] if (_NAMESPACES / name).exists()]


def remove_orphans() -> None:
    """Remove the hosts of runs that were killed."""
    found = [path.name for path in _NAMESPACES.glob(f"{_PREFIX}*")]
    _remove([name for name in found if not psutil.pid_exists(int(name.split("-")[1]))])


def _remove(names: list[str]) -> None:
    for name in names:
        Host(name, "", "", "").kill()
        _ip("netns", "del", name)
