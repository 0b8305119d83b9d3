"""Early stopping's second phase: anew, on training and validation data together, for the number of steps that was best."""

from __future__ import annotations

import pytest
import torch

from components.files import read_json
from components.training import journal
from components.training.checkpoint import verify
from components.training.jobs import train


@pytest.fixture(scope="module")
def refitted(group, plain, data, tmp_path_factory):
    """LeNet-5, 41 training rows by 8. The greatest loss counts as best: the first epoch is it, and patience ends the first phase after three."""
    spec = plain("trainer.refit=true", "trainer.patience=2ep", "trainer.duration=12ep", "optimizer.lr=0.01", "trainer.monitor.mode=max")
    spec["augment"]["always"].append({"_target_": "components.data.transforms.Resize", "size": 32})
    folder = tmp_path_factory.mktemp("refit")
    config = {"spec": spec, "data": str(data), "directory": str(folder)}
    return folder, config, group.run(2, train, config)[0]


def test_the_second_phase_makes_as_many_steps_as_were_best(refitted):
    folder, _, summary = refitted
    assert summary["stopped"].startswith("no better") and (summary["best"]["step"], summary["steps"]) == (6, 18)
    assert summary["refit"]["steps"] == summary["best"]["step"]
    assert summary["checkpoint"] == f"refit/checkpoints/step_{summary['best']['step']:08d}"
    assert verify(folder / summary["checkpoint"])["stopped"] == "all steps made"


def test_it_learns_from_all_rows_but_the_test_split_s_and_is_judged_by_none(refitted):
    folder, _, summary = refitted
    start = journal.read(folder / "refit" / "metrics.jsonl")[0]
    assert start["steps_per_epoch"] == -(-(41 + 30) // 8)
    assert not [r for r in journal.read(folder / "refit" / "metrics.jsonl") if r["kind"] == "epoch"]
    assert summary["refit"]["best"]["value"] is None


def test_it_begins_anew_with_the_same_schedule_s_length(refitted):
    """Not where the first phase ended: its first loss is that of fresh weights."""
    folder, _, _ = refitted
    first, second = [next(r for r in journal.read(folder / d / "metrics.jsonl") if r["kind"] == "step") for d in (".", "refit")]
    assert second["learning_rate"] == first["learning_rate"]
    assert abs(second["loss"] - torch.log(torch.tensor(3.0)).item()) < 0.3


def test_started_again_it_makes_no_step_more(group, refitted):
    folder, config, summary = refitted
    before = read_json(folder / summary["checkpoint"] / "meta.json")
    again = group.run(2, train, config)[0]
    assert again["checkpoint"] == summary["checkpoint"] and again["refit"]["steps"] == summary["refit"]["steps"]
    assert read_json(folder / summary["checkpoint"] / "meta.json") == before
