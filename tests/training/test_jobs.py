"""The two jobs on the real system: LeNet-5, trained and evaluated; evaluation equal to the bit on one, two and three workers."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from components.data.card import load_card, write_card
from components.data.dataset import ShardDataset
from components.errors import UserError
from components.files import read_json
from components.spec.parse import parse_spec
from components.training import checkpoint, jobs, journal
from components.training.checkpoint import Checkpoints
from components.training.inputs import Inputs
from components.training.session import LocalSession
from components.training.system import build_system


@pytest.fixture(scope="module")
def spec(plain):
    found = plain("optimizer=adamw", "optimizer.lr=0.004", "trainer.duration=12ep", "evaluate.batch_size=4")
    found["augment"]["always"].append({"_target_": "components.data.transforms.Resize", "size": 32})
    return found


@pytest.fixture(scope="module")
def trained(group, spec, data, tmp_path_factory):
    directory = tmp_path_factory.mktemp("lenet5")
    config = {"spec": spec, "data": str(data), "directory": str(directory)}
    return directory, group.run(2, jobs.train, config)


@pytest.fixture(scope="module")
def evaluated(group, spec, data, trained, tmp_path_factory):
    """The best checkpoint on 1, 2 and 3 workers: the returned metrics of every rank, and the directory."""
    best = Checkpoints(trained[0] / "checkpoints").path("best")
    found = {}
    for world in (1, 2, 3):
        directory = tmp_path_factory.mktemp(f"evaluated_{world}")
        config = {"spec": spec, "data": str(data), "directory": str(directory), "checkpoint": str(best)}
        found[world] = directory, group.run(world, jobs.evaluate, config)
    return found


def test_a_model_goes_on_with_the_statistics_that_it_was_trained_with(group, spec, data, trained, evaluated, tmp_path):
    """The same rows, whose card tells of others: as if newer data had moved."""
    moved = Path(shutil.copytree(data, tmp_path / "moved"))
    card = load_card(moved)
    other = replace(card.statistics["inputs"], mean=tuple(m + 4.0 for m in card.statistics["inputs"].mean))
    write_card(moved, replace(card, statistics={**card.statistics, "inputs": other}))
    best = Checkpoints(trained[0] / "checkpoints").path("best")
    config = {"spec": spec, "data": str(moved), "directory": str(tmp_path), "checkpoint": str(best)}
    (unlike,) = group.run(1, jobs.evaluate, config)
    (alike,) = group.run(1, jobs.evaluate, {**config, "trained_on": str(data)})
    assert alike == evaluated[1][1][0]
    assert unlike["test"]["loss"] != alike["test"]["loss"]


def test_training_writes_its_three_outputs(trained):
    directory, summaries = trained
    assert {p.name for p in directory.iterdir()} == {"checkpoints", "metrics.jsonl", "summary.json"}
    summary = read_json(directory / "summary.json")
    assert summary == summaries[0] and summary["parameters"] == 61_706 - 7 * 85 and summary["steps"] == 72
    assert set(summary["seconds"]) == {"total", "data_wait", "forward_backward", "validation", "checkpoint"}
    assert summary["samples_per_second"] > 0
    losses = [r["train/loss"] for r in journal.read(directory / "metrics.jsonl") if r["kind"] == "epoch"]
    assert losses[-1] < 0.5 * losses[0]


def test_evaluation_does_not_depend_on_the_number_of_workers(evaluated):
    directory, (alone,) = evaluated[1]
    assert {p.name for p in directory.iterdir()} == {"metrics.json", "samples.npz", "scores.npz"}
    assert read_json(directory / "metrics.json") == alone
    with np.load(directory / "samples.npz", allow_pickle=False) as file:
        samples = dict(file)
    for world in (2, 3):
        other, results = evaluated[world]
        assert all(result == alone for result in results)
        assert read_json(other / "metrics.json") == alone
        with np.load(other / "samples.npz", allow_pickle=False) as file:
            assert set(file) == set(samples)
            for name, values in samples.items():
                np.testing.assert_array_equal(file[name], values, err_msg=f"{name} on {world} workers")


def test_the_metrics_are_those_of_a_pass_by_hand(evaluated, spec, data, trained):
    parsed = parse_spec(spec)
    inputs = Inputs(data, "test", parsed, LocalSession())
    model, _ = build_system(parsed, inputs.dataset.card, LocalSession())
    checkpoint.load_weights(Checkpoints(trained[0] / "checkpoints").path("best"), model)
    ((batch, _),) = inputs.evaluation(23)
    with torch.no_grad():
        logits = model.eval()(batch["inputs"])
    found = evaluated[3][1][0]
    assert list(found) == ["validation", "test"]
    assert found["test"]["samples"] == 23 and found["validation"]["samples"] == 30
    assert found["test"]["accuracy"] == (logits.argmax(1) == batch["targets"]).double().mean().item()
    assert found["test"]["loss"] == pytest.approx(torch.nn.functional.cross_entropy(logits, batch["targets"]).item(), rel=1e-5)
    assert np.sum(found["test"]["confusion"]) == 23


def test_the_samples_are_raw_rows_of_the_split(evaluated, data):
    with np.load(evaluated[2][0] / "samples.npz", allow_pickle=False) as file:
        samples = dict(file)
    rows = ShardDataset(data, "test").fetch(samples["sample_id"])
    np.testing.assert_array_equal(samples["inputs"], rows["inputs"])
    assert samples["inputs"].dtype == np.uint8
    np.testing.assert_array_equal(samples["targets"], rows["targets"])
    np.testing.assert_array_equal(samples["predictions"], samples["probabilities"].argmax(1))
    chosen = samples["probabilities"][np.arange(len(samples["targets"])), samples["targets"]]
    np.testing.assert_allclose(samples["losses"], -np.log(chosen), rtol=1e-4, atol=1e-6)
    assert len(set(samples["sample_id"].tolist())) == len(samples["sample_id"])


def test_validation_while_training_is_the_evaluation_of_its_checkpoint(evaluated, trained):
    best = read_json(Checkpoints(trained[0] / "checkpoints").path("best") / "meta.json")
    for name, value in evaluated[1][1][0]["validation"].items():
        if isinstance(value, (int, float)):
            assert best["metrics"][f"validation/{name}"] == value
    assert math.isfinite(best["metrics"]["validation/loss"])


def test_an_evaluation_may_be_cut_to_its_first_batches(group, spec, data, trained, tmp_path):
    best = Checkpoints(trained[0] / "checkpoints").path("best")
    short = {**spec, "evaluate": {"splits": ["test"], "batch_size": 4, "max_batches": 2}}
    config = {"spec": short, "data": str(data), "directory": str(tmp_path), "checkpoint": str(best)}
    for world in (1, 3):  # the third worker has no batch at all
        assert {r["test"]["samples"] for r in group.run(world, jobs.evaluate, config)} == {8}


def test_damaged_inputs_are_refused_by_every_worker(group, spec, data, trained, tmp_path):
    config = {"spec": spec, "data": str(data), "directory": str(tmp_path), "checkpoint": str(tmp_path / "nothing")}
    with pytest.raises(UserError, match="incomplete"):
        group.run(2, jobs.evaluate, config)
    with pytest.raises(UserError, match=r"card\.json is missing"):
        group.run(2, jobs.train, {**config, "data": str(tmp_path)})
    moved = {**config, "content_sha256": "0" * 64}  # other data have taken the place of those that were meant
    with pytest.raises(UserError, match="another version"):
        group.run(2, jobs.train, moved)
    with pytest.raises(UserError, match="another version"):
        group.run(2, jobs.evaluate, {**moved, "checkpoint": str(Checkpoints(trained[0] / "checkpoints").path("best"))})
    with pytest.raises(UserError, match="batch is larger than the data"):
        group.run(2, jobs.train, {**config, "spec": {**spec, "trainer": {**spec["trainer"], "batch_size": 42}}})
    assert not (tmp_path / "metrics.json").exists()
