"""A sound machine, into which the tests plant their faults."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from components.training.doctor.finding import Finding
from flows.machine.machine import Machine

ROOT = Path(__file__).parents[3]


@contextmanager
def listening() -> Iterator[int]:
    """Hold a port of this machine."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def free_port() -> int:
    with listening() as port:
        return port


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A project without runs, in folders of its own; what is installed is what the tests run with."""
    for name in ("project/conf", "project/.dvc", "home", "shm", "proc"):
        (tmp_path / name).mkdir(parents=True)
    shutil.copytree(ROOT / "conf" / "cluster", tmp_path / "project" / "conf" / "cluster")
    for name in ("pyproject.toml", ".dvc/config"):
        shutil.copyfile(ROOT / name, tmp_path / "project" / name)
    environment = {"HOME": str(tmp_path / "home"), "RAY_ADDRESS": "local", "PREFECT_SERVER_API_PORT": str(free_port())}
    project = tmp_path / "project"
    return Machine(project, project / "store", environment, sys.path, proc=tmp_path / "proc", shared_memory=tmp_path / "shm")


@pytest.fixture
def having(machine: Machine) -> Callable[..., Machine]:
    """The machine with some variables set, or unset by None."""

    def make(**changed: str | None) -> Machine:
        kept = {k: v for k, v in {**machine.environment, **changed}.items() if v is not None}
        return replace(machine, environment=kept)

    return make


def one(found: Finding | list[Finding], status: str, name: str = "") -> Finding:
    """Return the finding, the one of that name where there are several, and require its status; a fault says what to do about it."""
    (finding,) = [f for f in (found if isinstance(found, list) else [found]) if not name or f.name == name]
    assert finding.status == status, finding
    assert status == "ok" or (finding.expected and finding.mend)
    return finding


@contextmanager
def as_nobody() -> Iterator[None]:
    """Give up root's right to write everywhere, for a block."""
    if os.geteuid() == 0:
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)
    else:
        yield


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach, as pytest's own are not."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def rows_of(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in result["checks"]}
