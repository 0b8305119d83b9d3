"""why, runs and gc through the command line, beside a run that goes on and after it was killed."""

from __future__ import annotations

import os
import signal

import pytest

from flows.store import Store
from tests.flows.stores import add_stage

LONG = ("run", "cluster=inline", "debug=fast", "tracking=disabled", "trainer.duration=1000000st", "trainer.validate_every=1000000st")


@pytest.fixture(scope="module")
def workspace(make_workspace):
    return make_workspace()


@pytest.fixture(scope="module")
def running(workspace):
    """A run that is in its training, and will be for hours."""
    process = workspace.start(*LONG)
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("train:"):
            break
    assert lines[-1:] == ["train: never ran for this experiment\n"], "".join(lines)
    yield process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_beside_a_run_gc_frees_what_it_does_not_use(workspace, running):
    store = Store(workspace.root / "store")
    unused = add_stage(store, "train", "unused")
    (run,) = workspace.result("runs", "list")["runs"]
    assert run["status"] == "running"
    found = workspace.result("gc", "--yes", "--keep", "0")
    assert [item["path"] for item in found["items"]] == [f"stages/train/{unused}"] and found["left"] == []
    assert found["kept"] == {run["run_id"]: "running"} and found["freed"] > 1000
    assert running.poll() is None and len(list(store.root.glob("stages/train/*.partial"))) == 1
    refused = workspace.run("runs", "rm", run["run_id"][:12])
    assert refused.returncode == 2 and "it goes on" in refused.stderr


def test_after_it_was_killed(workspace, running):
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    (run,) = workspace.result("runs", "list")["runs"]
    assert run["status"] == "interrupted"
    found = workspace.result("why", "train")
    assert (found["run_id"], found["status"]) == (run["run_id"], "interrupted") and "1000000st" in found["command"]
    data = workspace.result("why", "data", run["run_id"])
    assert data["status"] == "ran" and data["parts"] == {"fetch": "ran", "prepare": "ran"}
    wrong = workspace.run("why", "trian")
    assert wrong.returncode == 2 and "did you mean 'train'" in wrong.stderr
    store = workspace.root / "store"
    found = workspace.result("gc", "--yes")
    assert {item["kind"] for item in found["items"]} == {"lease"}  # what the next attempt goes on with stays
    assert run["run_id"] in found["kept"] and len(list(store.glob("stages/train/*.partial"))) == 1
    gone = workspace.result("runs", "rm", run["run_id"])
    assert not list(store.glob("stages/*/*")) and len(gone["removed"]) == 3
    assert (workspace.root / "data" / "prepared" / "digits" / "card.json").is_file()  # DVC's
    assert workspace.result("runs", "list") == {"runs": []}
