"""Where a cell is played: a copy of the project that is put back to a chosen beginning, and attempts at the command there, one with a fault."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chaos.matrix import VICTIMS, Step
from tests.conftest import Workspace, copy_project

INJECT = Path(__file__).with_name("inject")
_KEPT = ("store", "data", ".dvc", ".dvc-site", "dvc.lock", "params.yaml")  # what a run leaves in the project's folder
_STAGES = """
import sys
import time
from pathlib import Path
from flows.open import open_run
from flows.stages import order
from tests.chaos.arena import keep
with open_run(sys.argv[2:], "chaos") as run:
    for name in order(run.spec)[:-1]:
        run.stage(name)
        while name == "train" and run.results[name].status == "ran" and not list(run.directory.glob("wandb/offline-run-*")):
            time.sleep(0.1)
        keep(Path(), Path(sys.argv[1]) / name)
"""


def keep(root: Path, folder: Path) -> None:
    """Copy what runs have left in a project's folder; mailboxes are of processes, not of files."""
    folder.mkdir(parents=True)
    for name in _KEPT:
        if (root / name).is_dir():
            shutil.copytree(root / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("mailboxes"))
        else:
            shutil.copy2(root / name, folder / name)


@dataclass(frozen=True)
class Attempt:
    """How a command ended; `result` is what --json printed, `killed` what the fault says of whom it killed ("" where it did not come to it)."""

    code: int | None  # None: it had to be ended
    seconds: float
    output: str
    result: dict[str, Any]
    killed: str


class Arena:
    """One copy of the project.

    Args:
        folder: an absent or empty one, with a short name: Ray's sockets lie in it.
        prefect_url: of a Prefect server; one for all cells, to save each the start of its own.
    """

    def __init__(self, folder: Path, prefect_url: str) -> None:
        self.folder, self.root = folder, folder / "project"
        self.workspace: Workspace = copy_project(self.root, {"PREFECT_HOME": str(folder / "prefect")})
        self.workspace.env |= {"TMPDIR": str(folder / "tmp"), "RAY_TMPDIR": str(folder / "ray"), "PYTHONPATH": str(INJECT)}
        self.workspace.env |= {"PREFECT_API_URL": prefect_url}
        self.put_back(None)

    def put_back(self, beginning: Path | None) -> None:
        """Forget all that was run, and begin anew or from a folder that `prepare_beginnings` made."""
        for name in _KEPT[:4]:
            shutil.rmtree(self.root / name, ignore_errors=True)
        for name in ("tmp", "ray"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
            (self.folder / name).mkdir(parents=True)
        subprocess.run(["git", "checkout", "-q", "--", "."], cwd=self.root, check=True)
        if beginning is not None:
            shutil.copytree(beginning, self.root, dirs_exist_ok=True, symlinks=True)

    def prepare_beginnings(self, beginnings: Path, *overrides: str) -> None:
        """Run the stages one by one and keep, under the name of each, what there is when it has finished."""
        self.put_back(None)
        command = [sys.executable, "-c", _STAGES, str(beginnings), *overrides]
        subprocess.run(command, cwd=self.root, env=self.workspace.env, check=True, capture_output=True)

    def attempt(self, *command: str, fault: tuple[Step, str] | None = None, timeout_seconds: float = 300.0) -> Attempt:
        """Run the command, with a fault (a step, and a key of VICTIMS) or without.

        What does not end in time is ended, with everything that it started; else nothing is touched: the next attempt meets what is left.
        """
        token = self.folder / "token"
        token.unlink(missing_ok=True)
        env = self.workspace.env | ({} if fault is None else {"CHAOS_FAULT": self._write(fault, token)})
        started = time.monotonic()
        # To a file: what outlives a killed driver would hold a pipe open.
        with open(self.folder / "output", "w+b") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "flows", *command, "--json"],
                cwd=self.root, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
            try:
                code: int | None = process.wait(timeout_seconds)
            except subprocess.TimeoutExpired:
                code = None
                self.end_all()
                process.wait()
            seconds = time.monotonic() - started
            output.seek(0)
            text = output.read().decode(errors="replace")
        return Attempt(code, seconds, text, _last_object(text), token.read_text() if token.exists() else "")

    def _write(self, fault: tuple[Step, str], token: Path) -> str:
        step, victim = fault
        path = self.folder / "fault.json"
        mark = f"MODELYARD_TEST_MARK={self.workspace.env['MODELYARD_TEST_MARK']}"
        path.write_text(json.dumps({**vars(step), "victim": VICTIMS[victim], "mark": mark, "token": str(token)}))
        return str(path)

    def end_all(self) -> None:
        for process in self.workspace.processes():
            process.kill()

    def left_running(self, patience_seconds: float) -> list[str]:
        """Return the command lines of what still runs after a while."""
        deadline = time.monotonic() + patience_seconds
        while (left := self.workspace.processes()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return [" ".join(p.cmdline())[:120] for p in left]


def _last_object(text: str) -> dict[str, Any]:
    lines: Sequence[str] = [line for line in text.splitlines() if line.startswith("{")]
    try:
        found: dict[str, Any] = json.loads(lines[-1])
    except (IndexError, ValueError):
        return {}
    return found
