"""Ctrl-C in each stage: the command ends within seconds, leaves no process, and the same command continues."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest

STAGES = ["data", "check", "train", "evaluate", "report"]
# Evaluation of one sample at a time and many epochs, so that each stage lasts long enough to be hit.
SLOW = ("run", "cluster=inline", "trainer.duration=40ep", "evaluate.batch_size=1")


@pytest.fixture(scope="module")
def workspace(make_workspace):
    return make_workspace()


def interrupt(workspace, stage, after_seconds, *command):
    """Start the command, press Ctrl-C when `stage` has begun; returns (exit code, seconds until it ended, output)."""
    process = workspace.start(*command)
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith(f"{stage}:") and "reused" not in line:
            break
    time.sleep(after_seconds)
    pressed = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the whole foreground group
    rest, _ = process.communicate(timeout=60)
    return process.returncode, time.monotonic() - pressed, "".join(lines) + rest


def assert_gone(workspace):
    deadline = time.monotonic() + 5
    while (left := workspace.processes()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left


@pytest.mark.parametrize(("stage", "after_seconds"), [("data", 0.4), ("check", 0.2), ("train", 2.5), ("evaluate", 0.05), ("report", 0.4)])
def test_ctrl_c_in_a_stage(workspace, stage, after_seconds):
    code, seconds, output = interrupt(workspace, stage, after_seconds, *SLOW)
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
    assert len(epochs) == 40  # resumed, each epoch once


def test_ctrl_c_while_ray_trains(workspace):
    code, seconds, output = interrupt(workspace, "train", 1.0, "run", "trainer.duration=500ep", "trainer.checkpoint_every=5000st")
    assert code == 130, output
    step = int(re.search(r"interrupted after step (\d+) of 10000, which is saved", output)[1])
    (latest,) = (workspace.root / "store" / "stages" / "train").glob("*.partial/checkpoints/latest")
    assert latest.read_text().strip() == f"step_{step:08d}"
    assert seconds < 45
    assert_gone(workspace)


def test_kill_of_the_driver_leaves_nothing_running(workspace):
    """SIGKILL: the worker group, Ray, the Prefect server and the tracker notice that their driver is gone."""
    process = workspace.start("run", "trainer.duration=600ep")
    for line in process.stdout:
        if line.startswith("train: epoch"):
            break
    process.kill()
    process.wait()
    deadline = time.monotonic() + 30
    while (left := workspace.processes()) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not left
