"""One real run for all tests of its lineage, with code that no commit holds; the tests that tamper take copies of its store."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from components.files import read_json, write_json
from flows.lineage.records import Records
from flows.store import Store
from tests.conftest import Workspace

STORE = "kept"  # not the configuration's: the overrides of the run name it
RUN = ("run", "cluster=inline", "debug=fast", "tracking=disabled", f"store={STORE}")
CHANGED, ADDED, CONF = "components/models/cnn/lenet5.py", "components/models/cnn/added.py", "conf/optimizer/adamw.yaml"


@dataclass
class Trained:
    """A run, its project, and the store that it is in."""

    workspace: Workspace
    run_id: str
    store: Path

    @property
    def records(self) -> Records:
        return Records(self.workspace.root, Store(self.store))

    @property
    def run(self) -> Path:
        return self.store / "runs" / self.run_id

    @property
    def account(self) -> dict[str, Any]:
        account: dict[str, Any] = read_json(self.run / "run.json")
        return account

    def stage(self, name: str) -> Path:
        return self.store / "stages" / name / self.account["stages"][name]["key"]

    @property
    def checkpoint(self) -> Path:
        return self.stage("train") / "checkpoints" / "step_00000004"

    def rewrite(self, **changes: Any) -> None:
        """Make the record, in run.json and in the ledger, what another history would have written."""
        write_json(self.run / "run.json", {**self.account, **changes})
        body = next(e.body for e in Store(self.store).ledger.entries() if e.kind == "run")
        Store(self.store).ledger.append("run", {**body, **changes})


@pytest.fixture(scope="session")
def trained(make_workspace: Callable[[], Workspace]) -> Trained:
    """LeNet-5, four steps, trained from a changed and an added module; afterwards both are as they were committed, and a file of conf/ is not."""
    workspace = make_workspace()
    with open(workspace.root / CHANGED, "a") as stream:
        stream.write('\nMADE_BY = "a change that no commit holds"\n')
    (workspace.root / ADDED).write_text("# new\n")
    (workspace.root.parent / "remote").mkdir()
    result = workspace.result(*RUN, f"remote=file://{workspace.root.parent}/remote")  # from which it must not be taken when it is trained again
    (workspace.root / ADDED).unlink()
    subprocess.run(["git", "checkout", "--quiet", "--", CHANGED], cwd=workspace.root, check=True)
    with open(workspace.root / CONF, "a") as stream:
        stream.write("# changed since\n")
    return Trained(workspace, result["run_id"], workspace.root / STORE)


@pytest.fixture
def copied(trained: Trained, tmp_path: Path) -> Trained:
    """A copy of the store to tamper with, with the data that it refers to."""
    shutil.copytree(trained.store, tmp_path / "project" / STORE)
    shutil.copytree(trained.workspace.root / "data", tmp_path / "project" / "data")
    return Trained(trained.workspace, trained.run_id, tmp_path / "project" / STORE)


def last_object(printed: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return found


def damaged_copy(trained: Trained, folder: Path) -> Trained:
    """A copy in which something of every kind was tampered with."""
    shutil.copytree(trained.store, folder / "a" / STORE)
    shutil.copytree(trained.workspace.root / "data", folder / "a" / "data")
    copy = Trained(trained.workspace, trained.run_id, folder / "a" / STORE)
    weights = bytearray((copy.checkpoint / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy.checkpoint / "model.safetensors").write_bytes(weights)
    (copy.stage("check") / "check.json").write_text("{}")
    (copy.stage("evaluate") / "metrics.json").unlink()
    manifest = copy.stage("report") / "manifest.json"
    write_json(manifest, {**read_json(manifest), "parts": {}})
    with open(copy.run / "uncommitted.patch", "a") as stream:
        stream.write("+\n")
    write_json(copy.run / "run.json", {**copy.account, "metrics": {"test": {"accuracy": 0.99}}})
    ledger = copy.store / "ledger.jsonl"
    lines = ledger.read_text().splitlines(keepends=True)
    ledger.write_text("".join([lines[0], *lines[2:]]))
    return copy
