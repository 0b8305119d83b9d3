"""The machine, as the checks see it: plain values, so that a test can plant a fault in any of them."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from components.data.params import read_yaml
from components.errors import UserError
from flows.project import project_root


@dataclass(frozen=True)
class Machine:
    """Where the checks look.

    Args:
        root: the project's folder.
        store: the store that the configuration names.
        environment: the variables that a run would see.
        packages: folders in which installed packages lie.
        proc, shared_memory: the kernel's folders.
        wall: the clock, in seconds since 1970.
        opened: what `wall` and the clock that nobody can set said first.
    """

    root: Path
    store: Path
    environment: Mapping[str, str]
    packages: Sequence[str]
    proc: Path = Path("/proc")
    shared_memory: Path = Path("/dev/shm")
    wall: Callable[[], float] = time.time
    opened: tuple[float, float] = field(default_factory=lambda: (time.time(), time.monotonic()))

    @property
    def home(self) -> Path:
        return Path(self.environment.get("HOME") or Path.home())

    @property
    def prefect_home(self) -> Path:
        return Path(self.environment.get("PREFECT_HOME") or self.home / ".prefect").expanduser()

    @property
    def temporary(self) -> Path:
        return Path(self.environment.get("TMPDIR") or "/tmp")

    @property
    def ray_temporary(self) -> Path:
        return Path(self.environment.get("RAY_TMPDIR") or self.temporary) / "ray"

    def distribution(self, name: str) -> metadata.Distribution | None:
        """Return the metadata of an installed package."""
        return next(iter(metadata.distributions(name=name, path=list(self.packages))), None)

    def version(self, name: str) -> str | None:
        found = self.distribution(name)
        return None if found is None else found.version


def this_machine() -> Machine:
    """Return the machine and project that the command was typed in."""
    root = project_root()
    return Machine(root, root / _configured_store(root), os.environ, [p for p in sys.path if p])


def _configured_store(root: Path) -> str:
    """The store by conf/config.yaml, read as plain YAML: Hydra may be what is broken."""
    try:
        return str(read_yaml(root / "conf" / "config.yaml")["store"])
    except (UserError, KeyError, TypeError):
        return "store"


def found_size(number_of_bytes: float) -> str:
    """Return a size for people, such as `1.5 GiB`."""
    for unit in ("bytes", "KiB", "MiB"):
        if number_of_bytes < 1024:
            return f"{number_of_bytes:.3g} {unit}"
        number_of_bytes /= 1024
    return f"{number_of_bytes:.3g} GiB"
