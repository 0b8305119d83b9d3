"""The main job, through the command line: data to report, with two real Ray workers; reuse; what a changed key makes again."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from components.files import read_json, sha256_file
from tests.conftest import OWN_SERVER

STAGES = ["data", "check", "train", "evaluate", "report"]
RUN = ("run", "trainer.duration=4ep")


@pytest.fixture(scope="module")
def workspace(make_workspace):
    return make_workspace()


@pytest.fixture(scope="module")
def ran(workspace):
    """One run of LeNet-5 on digits: Prefect's temporary server, DVC, two Ray workers, W&B offline."""
    return workspace.result(*RUN, **OWN_SERVER)


def test_every_stage_ran_and_said_where(ran):
    assert list(ran["stages"]) == STAGES
    assert all(stage["status"] == "ran" and Path(stage["directory"]).is_dir() for stage in ran["stages"].values())
    assert ran["run_id"].startswith("cnn-lenet5-")
    assert set(ran["metrics"]) == {"validation", "test"}
    assert ran["metrics"]["test"]["samples"] == 359
    assert ran["metrics"]["test"]["accuracy"] > 0.8  # a constant guess is right on about 0.1


def test_two_workers_trained_a_lenet(ran):
    summary = read_json(Path(ran["stages"]["train"]["directory"]) / "summary.json")
    assert (summary["workers"], summary["parameters"]) == (2, 61_706)
    assert summary["steps"] == 4 * 20  # 1,258 rows in batches of 64
    weights = load_file(Path(ran["checkpoint"]) / "model.safetensors")
    assert sum(w.size for w in weights.values()) == 61_706
    assert not any(name.startswith("module.") for name in weights)  # no wrapper's prefix


def test_evaluation_saw_each_sample_once(ran):
    metrics = read_json(Path(ran["stages"]["evaluate"]["directory"]) / "metrics.json")
    confusion = np.array(metrics["test"]["confusion"])
    assert confusion.sum() == 359
    assert np.trace(confusion) / 359 == pytest.approx(ran["metrics"]["test"]["accuracy"])


def test_the_manifest_holds_the_hash_of_every_file(ran):
    directory = Path(ran["stages"]["train"]["directory"])
    manifest = read_json(directory / "manifest.json")
    on_disk = {p.relative_to(directory).as_posix() for p in directory.rglob("*") if p.is_file()}
    assert set(manifest["files"]) == on_disk - {"manifest.json", "ledger.json"}  # the latter says where in the ledger it is
    assert all(sha256_file(directory / name) == entry["sha256"] for name, entry in manifest["files"].items())


def test_wandb_followed_offline_as_one_run(workspace, ran):
    """W&B's own tool reads the offline file: a row for each step that the journal records, figures, report and origin, in the group of the run."""
    directory = workspace.root / "store" / "runs" / ran["run_id"]
    (file,) = (directory / "wandb").glob("offline-run-*/*.wandb")
    command = [str(Path(sys.executable).parent / "wandb"), "leet", "inspect", "--json", str(file.parent)]
    printed = subprocess.run(command, capture_output=True, text=True, env=workspace.env)
    assert printed.returncode == 0, printed.stderr
    records = [json.loads(line) for line in printed.stdout.splitlines()]
    rows = [record["history"]["item"] for record in records if record["type"] == "history"]
    assert [(row["_step"], row["step"]) for row in rows] == [(n, n) for n in (20, 40, 60, 80)]
    wanted = {"loss", "learning_rate", "samples_per_second", "data_wait_share", "validation/accuracy"}
    assert all(wanted <= row.keys() for row in rows)
    assert [record["metric"]["glob_name"] for record in records if record.get("metric", {}).get("step_metric") == "step"] == ["*"]
    summary = {name: value for record in records if record["type"] == "summary" for name, value in record["summary"]["update"].items()}
    assert summary["test/accuracy"] == ran["metrics"]["test"]["accuracy"]
    assert (file.parent / "files" / summary["report"]["path"]).read_bytes() == Path(ran["report"]).read_bytes()
    (begun,) = (record["run"] for record in records if record["type"] == "run")
    told, origin = read_json(directory / "run.json"), begun["config"]["update"]["origin"]
    assert (origin["run_id"], origin["data"], origin["git"]) == (told["run_id"], told["data"], told["git"])
    assert origin["data"]["dvc"]["prepared"].endswith(".dir") and origin["prefect_flow_run_id"] and len(origin["git"]["commit"]) == 40
    assert begun["run_group"] == ran["run_id"] and [record["exit"]["exit_code"] for record in records if record["type"] == "exit"] == [0]
    assert any("memory_percent" in record["stats"]["item"] for record in records if record["type"] == "stats")


def test_the_same_command_reuses_everything_at_once(workspace, ran):
    started = time.monotonic()
    again = workspace.result(*RUN)
    assert time.monotonic() - started < 15.0  # half a second on a quiet machine; a run that starts anything takes longer than this
    assert {name: stage["status"] for name, stage in again["stages"].items()} == dict.fromkeys(STAGES, "reused")
    assert {k: again[k] for k in ("run_id", "metrics", "checkpoint", "report")} == {k: ran[k] for k in ("run_id", "metrics", "checkpoint", "report")}


def test_the_unchanged_command_imports_nothing_heavy(workspace, ran):
    code = "import sys; from flows.cli import main; main(sys.argv[1:]); print([m for m in ('torch', 'ray', 'prefect', 'wandb') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code, *RUN],
        cwd=workspace.root,
        env=workspace.env,
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr


def test_other_epochs_reuse_the_data(workspace, ran):
    """And inline, so that a second start of Ray is spared; one epoch of another length is another training."""
    other = workspace.result("run", "trainer.duration=1ep", "cluster=inline")
    statuses = {name: stage["status"] for name, stage in other["stages"].items()}
    assert statuses == {"data": "reused", "check": "reused", "train": "ran", "evaluate": "ran", "report": "ran"}


def test_a_damaged_checkpoint_is_found_and_made_again(workspace, ran):
    other = workspace.result("run", "trainer.duration=1ep", "cluster=inline")
    assert other["stages"]["train"]["status"] == "reused"
    weights = Path(other["checkpoint"]) / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    mended = workspace.result("run", "trainer.duration=1ep", "cluster=inline")
    assert mended["stages"]["train"]["status"] == "ran"
    assert mended["metrics"] == other["metrics"]  # the same seed on the same machine
    assert mended["stages"]["evaluate"]["status"] == "reused"  # the same weights to the bit


def test_plan_says_what_would_run_and_why(workspace, ran):
    plan = workspace.result("plan", "trainer.duration=5ep")
    actions = {s["stage"]: s["action"] for s in plan["stages"]}
    assert actions == {"data": "reuse", "check": "reuse", "train": "run", "evaluate": "run", "report": "run"}
    assert plan["steps"] == 5 * 20 and plan["parameters"] == 61_706 and plan["training_rows"] == 1258
    train, trained = plan["stages"][2], ran["stages"]["train"]["seconds"]
    assert [(change["key"], change["now"]) for change in train["changes"]] == [("config.trainer.duration", "5ep")]
    assert train["predicted"]["runs"] == 1 and 0.5 * trained < train["predicted"]["seconds"] < 2 * trained  # that of four on two workers
    assert not any((workspace.root / "store" / "stages" / "train").glob("*.partial"))
