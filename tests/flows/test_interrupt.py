"""Ctrl-C in each stage: the command ends within seconds, leaves no process, and the same command continues."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest

from tests.conftest import OWN_SERVER
from tests.processes import until

STAGES = ["data", "check", "train", "evaluate", "report"]
# Several epochs, so that training lasts long enough to be hit.
SLOW = ("run", "cluster=inline", "trainer.duration=8ep")


@pytest.fixture(scope="module")
def workspace(make_workspace):
    return make_workspace()


def epochs(workspace):
    """How many epochs the unfinished trainings have noted."""
    return sum(p.read_text().count('"kind": "epoch"') for p in (workspace.root / "store" / "stages" / "train").glob("*.partial/metrics.jsonl"))


def wait_for_an_epoch(workspace):
    """Return once the training that runs now has noted another epoch."""
    before = epochs(workspace)
    assert until(lambda: epochs(workspace) != before, 200, pause_seconds=0.05)


def begin(workspace, stage, *command, **env):
    """Start the command and return it once `stage` has begun, with the lines so far."""
    process = workspace.start(*command, **env)
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith(f"{stage}:") and "reused" not in line:
            break
    return process, lines


def press(process, lines):
    """Press Ctrl-C; returns (exit code, seconds until it ended, output)."""
    pressed = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the whole foreground group
    rest, _ = process.communicate(timeout=60)
    return process.returncode, time.monotonic() - pressed, "".join(lines) + rest


def assert_gone(workspace):
    assert until(lambda: not workspace.processes(), pause_seconds=0.1), workspace.processes()


@pytest.mark.parametrize(("stage", "after_seconds"), [("data", 0.4), ("train", 0.0), ("report", 0.2)])
def test_ctrl_c_in_a_stage(workspace, stage, after_seconds):
    process, lines = begin(workspace, stage, *SLOW, **(OWN_SERVER if stage == "data" else {}))
    if stage == "train":
        wait_for_an_epoch(workspace)
    time.sleep(after_seconds)
    code, seconds, output = press(process, lines)
    assert code == 130, output
    assert "the same command continues" in output and "Traceback" not in output
    assert seconds < 45  # a second or two; what hangs is killed after 60
    assert_gone(workspace)
    finished = [p.parent.parent.name for p in (workspace.root / "store" / "stages").glob("*/*/manifest.json") if not p.parent.suffix]
    assert set(STAGES[: STAGES.index(stage)]) <= set(finished)  # nothing that was finished is lost


def test_the_next_command_continues_to_the_end(workspace):
    result = workspace.result(*SLOW)
    assert set(result["stages"]) == set(STAGES)
    assert result["stages"]["data"]["status"] == "reused" and result["stages"]["train"]["status"] == "reused"
    journal = (Path(result["stages"]["train"]["directory"]) / "metrics.jsonl").read_text().splitlines()
    epochs = [line for line in journal if '"kind": "epoch"' in line]
    assert len(epochs) == 8  # resumed, each epoch once


def test_ctrl_c_while_ray_trains(workspace):
    process, lines = begin(workspace, "train", "run", "trainer.duration=500ep", "trainer.checkpoint_every=5000st")
    wait_for_an_epoch(workspace)
    code, seconds, output = press(process, lines)
    assert code == 130, output
    step = int(re.search(r"interrupted after step (\d+) of 10000, which is saved", output)[1])
    (latest,) = (workspace.root / "store" / "stages" / "train").glob("*.partial/checkpoints/latest")
    assert latest.read_text().strip() == f"step_{step:08d}"
    assert seconds < 45
    assert_gone(workspace)


def test_kill_of_the_driver_leaves_nothing_running(workspace):
    """SIGKILL: the worker group, Ray, the Prefect server and the tracker notice that their driver is gone."""
    process, _ = begin(workspace, "train", "run", "trainer.duration=600ep", "cluster.workers=1", **OWN_SERVER)
    wait_for_an_epoch(workspace)
    process.kill()
    process.wait()
    assert_gone(workspace)
