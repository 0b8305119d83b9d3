"""`modelyard doctor` and `modelyard find` at the command line, on digits, with DVC."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from components.errors import UserError
from flows.examine import doctor_text, examine, found_text


@pytest.fixture(scope="module")
def workspace(make_workspace):
    return make_workspace()


def test_a_sound_system_passes_and_leaves_only_its_data(workspace):
    result = workspace.result("doctor", "experiment=cnn/lenet5", "cluster=inline")
    assert result["failed"] == 0
    assert {row["status"] for row in result["checks"]} == {"ok", "skipped"}
    assert [p.name for p in (workspace.root / "store" / "stages").iterdir()] == ["data"]
    assert not (workspace.root / "store" / "runs").exists()  # no run, so none that a later one would be compared with
    assert not list(workspace.root.rglob("*.wandb"))


def test_a_planted_fault_fails_and_says_how_to_mend_it(workspace):
    done = workspace.run("doctor", "cluster=inline", "optimizer.lr=0")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "data: reused" in done.stdout
    (line,) = [line for line in done.stdout.splitlines() if "overfit ten samples" in line]
    assert line.startswith("FAIL") and "D2" in line
    assert "to mend:  look at optimizer.lr" in done.stdout


def test_a_mistake_is_told_as_one(workspace):
    done = workspace.run("doctor", "cluster=inline", "optimizer.ls=0", "--json")
    assert done.returncode == 2 and json.loads(done.stdout.splitlines()[-1])["exit_code"] == 2
    done = workspace.run("find", "learning_rate")
    assert done.returncode == 2 and "lr" in done.stderr


def test_without_a_system_it_looks_at_the_machine(workspace):
    sound = {"RAY_ADDRESS": "local", "PREFECT_SERVER_API_PORT": "0"}
    result = workspace.result("doctor", **sound)
    assert result["failed"] == 0
    assert {"python", "token", "leases", "set back"} <= {row["name"] for row in result["checks"]}
    done = workspace.run("doctor", **sound, WANDB_API_KEY="hunter2")
    assert done.returncode == 1 and "hunter2" not in done.stdout + done.stderr
    assert "FAIL  network      W&B key" in done.stdout and "to mend:  set it right" in done.stdout


def test_the_table_shows_every_check_and_how_to_mend_what_failed():
    row = {"check": "D2", "name": "overfit", "found": "loss 1 -> 1", "expected": "accuracy 90%", "mend": "raise it " * 20, "seconds": 0.1}
    sound = {**row, "check": "D1", "name": "one", "status": "ok", "found": "loss 1 -> 0", "mend": ""}
    text = doctor_text({"checks": [sound, {**row, "status": "fail"}], "failed": 1, "seconds": 0.25})
    lines = text.splitlines()
    assert lines[0].split() == ["ok", "D1", "one", "loss", "1", "->", "0"]
    assert lines[1].startswith("FAIL  D2") and lines[2].strip() == "expected: accuracy 90%"
    assert lines[-1] == "1 ok, 0 warn, 1 fail, 0 skipped; 0.2 s"
    assert max(map(len, lines)) <= 110


def test_what_makes_no_gradient_steps_is_no_patient(monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2])
    with pytest.raises(UserError, match="looks at gradient steps") as caught:
        examine("doctor", ["experiment=reinforcement/q_learning", "cluster=inline", "tracking=disabled"])
    assert "QLearning" in str(caught.value)


def test_a_finder_s_figures_are_lines_and_its_rows_a_table():
    found = {
        "suggestion": 0.0123456,
        "note": "linear scaling",
        "curve": [{"rate": 0.1, "loss": 0.2}] * 100,
        "rows": [{"batch_size": 8, "seconds": 0.5}],
    }
    lines = found_text(found).splitlines()
    assert lines[:3] == ["suggestion: 0.01235", "note: linear scaling", "rows:"]
    assert lines[3].split() == ["batch_size", "seconds"] and lines[4].split() == ["8", "0.5"]
    assert len(lines) == 5
