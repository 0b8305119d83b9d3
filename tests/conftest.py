"""What several rooms' tests share: a copy of the project to run in, and its command line. Expensive parts start once a session."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows.processes import carrying
from flows.project import python_command
from tests.forked import run_command
from tests.prefect_server import PrefectServer, wait_until_it_answers
from tests.processes import until

ROOT = Path(__file__).resolve().parents[1]
LONGEST = (
    "flows/test_prefect_server.py",
    "systems/test_contract.py",
    "flows/test_interrupt.py",
    "flows/test_search.py",
    "chaos/test_chaos.py",
    "flows/test_sync.py",
    "flows/test_run.py",
)
_SERVER = pytest.StashKey[PrefectServer]()
MIRROR = Path(os.environ.get("MODELYARD_DATA_MIRROR", ROOT.parent / "shared" / "datasets"))


def pytest_configure() -> None:
    """Started by a shell's `&`, SIGINT is ignored here and in every child; the tests press Ctrl-C, so it must not be."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files come first, then those that run the command line: begun last, a file of a minute would leave the others idle."""
    commands = {item.path for item in items if "make_workspace" in getattr(item, "fixturenames", ())}

    def rank(item: pytest.Item) -> int:
        name = item.path.relative_to(ROOT / "tests").as_posix()
        return LONGEST.index(name) if name in LONGEST else len(LONGEST) + (item.path not in commands)

    items.sort(key=rank)


@dataclass
class Workspace:
    """A copy of the project, as a fresh clone would be, with a store of its own."""

    root: Path
    env: dict[str, str]

    def run(self, *arguments: str, timeout: float = 240, **env: str) -> subprocess.CompletedProcess[str]:
        """Run `python -m flows ARGUMENTS` here."""
        return run_command(self.root, {**self.env, **env}, arguments, timeout)

    def result(self, *arguments: str, **env: str) -> dict[str, Any]:
        """Run with --json and return the object; the command must end well."""
        done = self.run(*arguments, "--json", **env)
        assert done.returncode == 0, done.stderr
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return result

    def start(self, *arguments: str, **env: str) -> subprocess.Popen[str]:
        """Start the command as the leader of a process group, as a terminal would; stdout and stderr come as one stream."""
        return subprocess.Popen(
            python_command("flows", *arguments),
            cwd=self.root,
            env={**self.env, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def processes(self) -> list[psutil.Process]:
        """Every process that descends from a command run here: it carries this workspace's mark in its environment."""
        return carrying("MODELYARD_TEST_MARK", self.env["MODELYARD_TEST_MARK"])


def copy_project(root: Path, prefect: dict[str, str]) -> Workspace:
    """Copy the project's files, as git knows them, into a folder that does not exist yet, and commit them there; what is compiled comes along.

    Args:
        prefect: PREFECT_HOME, and PREFECT_API_URL for commands that are not to start a server of their own.
    """
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            target = root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target)  # with its time, by which Python knows that the compiled module is of it
    for compiled in (file for room in ("components", "flows") for file in (ROOT / room).rglob("__pycache__/*.pyc")):
        target = root / compiled.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(compiled, target)
    for command in (["init", "-q"], ["add", "-A"], ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "copy"]):
        subprocess.run(["git", *command], cwd=root, check=True)
    dropped = ("PREFECT_API_URL", "WANDB_API_KEY", "PYTHONPATH", "MODELYARD_DATA_MIRROR")
    env = {k: v for k, v in os.environ.items() if k not in dropped}
    env |= {**prefect, "DVC_SITE_CACHE_DIR": str(root / ".dvc-site"), "MODELYARD_TEST_MARK": uuid.uuid4().hex}
    return Workspace(root, env)


OWN_SERVER = {"PREFECT_API_URL": ""}  # for a command that is to start a temporary Prefect server, as it does for a person


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Several processes test (pytest-xdist): the one that started them holds the Prefect server that all of them use."""
    if _SERVER not in node.config.stash:
        node.config.stash[_SERVER] = PrefectServer()
    node.workerinput["prefect"] = node.config.stash[_SERVER].env


def pytest_unconfigure(config: pytest.Config) -> None:
    if _SERVER in config.stash:
        config.stash[_SERVER].close()


@pytest.fixture(scope="session")
def prefect_server(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """What makes commands share a Prefect server and its database."""
    own = None if hasattr(request.config, "workerinput") else PrefectServer()
    env: dict[str, str] = request.config.workerinput["prefect"] if own is None else own.env  # type: ignore[attr-defined]
    wait_until_it_answers(env)
    yield env
    if own is not None:
        own.close()


@pytest.fixture(scope="session")
def make_workspace(tmp_path_factory: pytest.TempPathFactory, prefect_server: dict[str, str]) -> Iterator[Callable[[], Workspace]]:
    """Make workspaces; what still runs in them at the session's end is ended, and fails the session."""
    made: list[Workspace] = []

    def make() -> Workspace:
        made.append(copy_project(tmp_path_factory.mktemp("workspace") / "project", prefect_server))
        return made[-1]

    yield make
    until(lambda: not any(workspace.processes() for workspace in made), 30, pause_seconds=0.2)
    left = [p for workspace in made for p in workspace.processes()]
    for process in left:
        process.kill()
    assert not left, f"processes left behind: {left}"


@pytest.fixture(scope="session")
def mirror() -> str:
    """The folder of the offline data mirror."""
    if not MIRROR.is_dir():
        pytest.skip(f"needs the data mirror: {MIRROR} is not there (MODELYARD_DATA_MIRROR names it)")
    return str(MIRROR)
