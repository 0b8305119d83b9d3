"""`folds=3`: which data has folds, and three of them trained for real."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from components.data.dataset import ShardDataset
from components.errors import UserError
from flows import stages
from flows.compose import compose
from flows.folds import fold_values, single_overrides
from flows.plan import plan, plan_text
from flows.repeat import repeat

ROOT = Path(__file__).parents[2]
MUTAG = "experiment=graph/gcn_mutag"


def test_each_fold_is_a_value_of_its_reader():
    assert fold_values(compose(ROOT, [MUTAG, "folds=10"])) == [{"data.prepare.fold": i} for i in range(10)]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([MUTAG, "folds=5"], r"the folds of mutag are fixed\n  received: folds=5\n  expected: folds=10"),
        (["folds=4"], r"digits has no folds[\s\S]*`modelyard repeat experiment=cnn/lenet5 --over seed=0\.\.3`"),
    ],
)
def test_data_without_such_folds_is_refused(overrides, message):
    with pytest.raises(UserError, match=message):
        fold_values(compose(ROOT, overrides))


def test_a_search_or_one_fold_beside_all_folds_is_refused():
    with pytest.raises(UserError, match="search first"):
        compose(ROOT, [MUTAG, "folds=10", "tune=random"])
    with pytest.raises(UserError, match="out of range"):
        compose(ROOT, ["folds=1"])
    with pytest.raises(UserError, match="leave one of the two out"):
        single_overrides(ROOT, [MUTAG, "data.prepare.fold=3", "folds=10"])
    with pytest.raises(UserError, match="folds=null"):
        repeat([MUTAG, "folds=10"], "seed=0,1")


def test_a_fold_is_the_run_that_it_is_by_itself():
    assert single_overrides(ROOT, [MUTAG, "folds=10", "seed=1"]) == [MUTAG, "seed=1"]
    spec = compose(ROOT, [MUTAG])
    assert stages.identity(replace(spec, folds=10)) == stages.identity(spec)


def test_a_plan_is_of_one_of_them(tmp_path):
    told = plan([MUTAG, "folds=10", f"store={tmp_path}"])
    assert told["folds"] == 10 and told["spec"]["data"]["prepare"]["fold"] == 0 and told["spec"]["folds"] is None
    assert "one of 10 folds" in plan_text(told) and plan([f"store={tmp_path}"])["folds"] is None


MODEL = """
from pathlib import Path

from torch import Tensor, nn


class Tiny(nn.Module):
    def __init__(self, input_shape: tuple[int, ...], hidden: int, fold: int) -> None:
        super().__init__()
        if fold == 1 and Path("broken").exists():
            raise RuntimeError("the second fold is broken")
        self.layers = nn.Sequential(nn.Linear(*input_shape, hidden), nn.Tanh(), nn.Linear(hidden, 2))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layers(inputs)
"""
DATA = """
name: moons
title: Two moons
licence: mine
homepage: none
num_classes: 2
fetch: {path: moons.csv}
prepare:
  _target_: components.data.sources.table.read_table
  file: moons.csv
  target: moon
  kind: classification
  validation_fraction: 0.2
  test_fraction: 0.2
  seed: 0
"""
EXPERIMENT = """# @package _global_
defaults:
  - override /data: moons
  - override /schedule: constant
description: Two moons
source: a test
model: {_target_: components.models.mlp.tiny.Tiny, hidden: 8, fold: "${oc.select:data.prepare.fold,0}"}
trainer: {duration: 3ep, batch_size: 16, monitor: {metric: validation/loss, mode: min}}
check: {min_rows: 1}
"""
COMMAND = ("run", "experiment=mlp/moons", "cluster=inline", "tracking=disabled")


@pytest.fixture(scope="module")
def workspace(make_workspace):
    """Two moons of forty rows, whose first column is the row's number."""
    workspace = make_workspace()
    rng = np.random.default_rng(0)
    angle, label = rng.uniform(0, np.pi, 80), np.arange(80) % 2
    x, y = np.cos(angle) * (1 - 2 * label) + label, np.sin(angle) * (1 - 2 * label) + label / 2
    rows = [f"{i},{x[i]:.4f},{y[i]:.4f},{'ab'[label[i]]}" for i in range(80)]
    files = {
        "moons.csv": "\n".join(["row,x,y,moon", *rows]),
        "conf/data/moons.yaml": DATA,
        "conf/experiment/mlp/moons.yaml": EXPERIMENT,
        "components/models/mlp/tiny.py": MODEL,
    }
    for name, text in files.items():
        (workspace.root / name).write_text(text)
    return workspace


def test_folds_are_runs_and_what_is_there_is_not_made_again(workspace):
    store = workspace.root / "store"
    (workspace.root / "broken").touch()
    failed = workspace.run(*COMMAND, "folds=3", "--json")
    told = json.loads(failed.stdout.splitlines()[-1])
    assert failed.returncode == told["exit_code"] == 1
    assert "1 of 3 folds failed:\n  fold 1: the second fold is broken\nthe other 2 are kept" in told["error"]
    assert "3 of 3 folds to train" in failed.stderr and "fold 0: test/loss" in failed.stderr
    assert len(list((store / "stages" / "report").glob("*/report.html"))) == 2 and not list(store.glob("repeats/*"))

    (workspace.root / "broken").unlink()
    single = workspace.result(*COMMAND, "data.prepare.fold=1", "data.prepare.folds=3")
    for name in ("flows/adapters/prefect_server.py", "flows/adapters/tune_group.py", "flows/pipeline.py"):  # nothing can be started any more
        (workspace.root / name).unlink()
    found = workspace.result(*COMMAND, "folds=3", PREFECT_API_URL="")
    assert found["runs"][1]["run_id"] == single["run_id"] and found["runs"][1]["metrics"] == single["metrics"]
    again = workspace.result(*COMMAND, "data.prepare.fold=2", "data.prepare.folds=3", PREFECT_API_URL="")
    assert again["run_id"] == found["runs"][2]["run_id"] and {stage["status"] for stage in again["stages"].values()} == {"reused"}

    accounts = [json.loads((store / "runs" / run["run_id"] / "run.json").read_text()) for run in found["runs"]]
    assert [(account["status"], account["part_of"]) for account in accounts] == [("finished", None)] * 3
    assert {account["stages"][stage]["status"] for account in accounts for stage in stages.STAGES} == {"ran"}  # in whichever process
    prepared = [workspace.root / "data" / "prepared" / account["data"]["key"] for account in accounts]
    tests = [ShardDataset(directory, "test") for directory in prepared]
    tested = np.concatenate([test.fetch(np.arange(len(test)))["inputs"][:, 0] for test in tests])
    assert sorted(tested) == list(range(80))
    for metric in ("loss", "accuracy"):
        values = [account["metrics"]["test"][metric] for account in accounts]
        figures = {"mean": np.mean(values), "deviation": np.std(values, ddof=1), "minimum": min(values), "maximum": max(values), "count": 3}
        assert found["spread"]["test"][metric] == pytest.approx(figures)
    assert found["headline"] == "test/loss" and json.loads(Path(found["path"]).read_text())["spread"] == found["spread"]
    assert f"{figures['mean']:.4f}" in Path(found["page"]).read_text() and not list(store.glob("mailboxes/*"))
