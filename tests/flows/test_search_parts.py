"""The parts of a search that need no Ray: values on a command line, what fits a cluster, what is handed on, the file that is written."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from components.errors import RunError, UserError
from components.files import write_json
from components.spec.schema import ClusterSpec, TuneSpec
from flows.compose import compose
from flows.search import population
from flows.search.best import experiment_file, save_as
from flows.search.preflight import preflight, trials_at_once
from flows.search.values import overrides_of, without_search

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "values",
    [
        {"optimizer.lr": 1e-05, "trainer.batch_size": 64, "trainer.sync_batchnorm": True, "trainer.clip_norm": None},
        {"trainer.duration": "3ep", "description": "it's {odd}, with \\ and [more]: a = b", "source": "ends with \\"},
        {"description": "true", "source": "\\'"},
    ],
)
def test_values_come_back_from_a_command_line_as_they_were(values):
    composed = compose(ROOT, overrides_of(values))
    for key, value in values.items():
        found = composed
        for part in key.split("."):
            found = found.options[part] if hasattr(found, "options") else getattr(found, part)
        assert found == value and type(found) is type(value)


def test_a_group_is_a_value_too():
    assert compose(ROOT, overrides_of({"optimizer": "sgd"})).optimizer == compose(ROOT, ["optimizer=sgd"]).optimizer


def test_the_same_without_the_search():
    asked = ["data=mnist", "tune=asha", "tune.budget.trials=3", "++tune.seed=1", "trainer.duration=1ep"]
    assert compose(ROOT, without_search(asked)) == compose(ROOT, ["data=mnist", "trainer.duration=1ep"])


@pytest.mark.parametrize(
    ("each", "workers", "most", "available", "held"),
    [
        ({"cpus_per_worker": 2.0}, 1, None, {"CPU": 7}, 3),
        ({"cpus_per_worker": 1.0, "gpus_per_worker": 0.5}, 1, None, {"CPU": 16, "GPU": 2}, 4),  # two on a GPU
        ({"cpus_per_worker": 1.0, "gpus_per_worker": 1.0}, 4, None, {"CPU": 64, "GPU": 8}, 2),  # whole groups
        ({"cpus_per_worker": 0.1}, 3, None, {"CPU": 0.3}, 1),  # 0.1 * 3 > 0.3 in floating point
        ({"cpus_per_worker": 1.0}, 1, 2, {"CPU": 16}, 2),
    ],
)
def test_as_many_trials_as_the_cluster_holds(each, workers, most, available, held):
    assert trials_at_once(ClusterSpec(**each), TuneSpec("random", workers=workers, at_once=most), available) == held


def test_none_where_not_one_fits():
    with pytest.raises(UserError, match=r"tune.workers=4 with 1 CPU and 1 GPU\n  expected: in all at most 16 CPU and 2 GPU"):
        trials_at_once(ClusterSpec(gpus_per_worker=1.0), TuneSpec("random", workers=4), {"CPU": 16, "GPU": 2})


def test_a_key_of_the_data_is_allowed_and_said():
    told = []
    overrides = ["tune=random", "tune.space.data.prepare.seed={integer: [1, 3]}", "cluster=inline"]
    preflight(ROOT, compose(ROOT, overrides), overrides, told.append)
    assert told == ["tune: data.prepare.seed changes the data: each of its values is a data stage of its own"]


def test_what_was_found_is_an_experiment_of_its_own(tmp_path):
    """The file composes to what the command's overrides compose to, groups included, but for its name."""
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    asked = ["experiment=cnn/lenet5", "data=mnist", "trainer.duration=2ep", "tune=asha", "tune.seed=4", "cluster=inline", "store=elsewhere"]
    found = ["optimizer=sgd", "optimizer.lr=0.05", "trainer.batch_size=16"]
    text = experiment_file(tmp_path, "cnn/lenet5", asked, found, "a test")
    save_as(tmp_path, "tuned/one", text)
    by_name, by_hand = compose(tmp_path, ["experiment=tuned/one"]), compose(tmp_path, ["data=mnist", "trainer.duration=2ep", *found])
    assert replace(by_name, experiment="cnn/lenet5") == by_hand
    assert "tune" not in yaml.safe_load(text)
    with pytest.raises(UserError, match="there is an experiment of that name"):
        save_as(tmp_path, "tuned/one", text)
    with pytest.raises(UserError, match="leads out"):
        save_as(tmp_path, "../../flows/run", text)


def checkpoint(training, step):
    """A checkpoint as `Checkpoints` leaves it, the only one of the training."""
    folder = training / "checkpoints" / f"step_{step:08d}"
    folder.mkdir(parents=True)
    write_json(folder / "meta.json", {"step": step})
    (folder / "model.safetensors").write_bytes(os.urandom(64))
    (training / "checkpoints" / "latest").write_text(f"{folder.name}\n")
    for old in (training / "checkpoints").glob("step_*"):
        if old != folder:
            shutil.rmtree(old)
    return folder


def test_what_is_handed_on_outlives_the_training_s_own(tmp_path):
    training, folder = tmp_path / "key.partial", tmp_path / "population" / "a"
    contents = {}
    for step in (10, 20, 30, 40):
        made = checkpoint(training, step)
        contents[step] = (made / "model.safetensors").read_bytes()
        kept = population.keep(training, step, folder, steps=20.0)
        assert population.step_of(kept) == step
    assert sorted(path.name for path in folder.iterdir()) == ["step_00000020", "step_00000030", "step_00000040"]  # 10 is older than 20 steps
    for path in folder.iterdir():
        assert (path / "model.safetensors").read_bytes() == contents[json.loads((path / "meta.json").read_text())["step"]]
    assert (kept / "model.safetensors").stat().st_ino == (made / "model.safetensors").stat().st_ino  # no copy
    assert population.nearest(folder / "step_00000030") == folder / "step_00000030"
    assert population.nearest(folder / "step_00000010") == folder / "step_00000020"
    with pytest.raises(RunError, match="is gone"):
        population.nearest(tmp_path / "population" / "b" / "step_00000010")


def test_a_stage_that_was_committed_meanwhile_is_found(tmp_path):
    training = tmp_path / "key.partial"
    checkpoint(training, 10)
    training.rename(tmp_path / "key")
    assert population.step_of(population.keep(training, 10, tmp_path / "population" / "a", steps=5.0)) == 10
