"""Going on from another training's checkpoint: what must be the same, and what may be permitted to differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from components.errors import UserError
from components.training.checkpoint import Checkpoints
from tests.training import systems
from tests.training.systems import train
from tests.training.test_loop import assert_same_weights, records

OPTIONS = ("schedule=constant", "trainer.checkpoint_every=2st")
Plain = dict[str, Any]


def changed(spec: Plain, folder: Path, permit: tuple[str, ...] = (), **groups: Plain) -> Plain:
    """A specification that goes on from the latest checkpoint of a folder, with other values in some groups."""
    new = {name: {**spec[name], **values} for name, values in groups.items()}
    return {**spec, **new, "resume": {"checkpoint": str(folder / "checkpoints" / "latest"), "permit": list(permit)}}


@pytest.fixture(scope="module")
def first(group, plain, data, tmp_path_factory):
    """Two epochs of 41 rows by 8, finished, and a run that was killed in its second epoch, at step 8 (16 samples)."""
    folder = tmp_path_factory.mktemp("first")
    spec = plain(*OPTIONS, "trainer.duration=2ep")
    group.run(1, train, spec, data, folder / "finished", systems.linear)
    group.run(1, train, spec, data, folder / "killed", systems.linear, 9)
    return folder


def test_a_finished_training_goes_on_for_longer(group, plain, data, tmp_path, first):
    spec = plain(*OPTIONS, "trainer.duration=4ep")
    (whole,) = group.run(1, train, spec, data, tmp_path / "whole", systems.linear)
    (found,) = group.run(1, train, changed(spec, first / "finished"), data, tmp_path / "on", systems.linear)
    assert_same_weights(found["weights"], whole["weights"])
    assert records(found, "step", "step") == list(range(13, 25))
    assert found["summary"]["steps"] == 24 and found["summary"]["stopped"] == "all steps made"


def test_to_ask_for_no_more_than_was_made_is_a_mistake(group, plain, data, tmp_path, first):
    spec = changed(plain(*OPTIONS, "trainer.duration=2ep"), first / "finished")
    with pytest.raises(UserError, match="has made all steps that are asked for"):
        group.run(1, train, spec, data, tmp_path, systems.linear)


@pytest.mark.parametrize(
    ("field", "groups"),
    [
        ("batch_size", {"trainer": {"batch_size": 4}}),
        ("optimizer", {"optimizer": {"momentum": 0.5}}),
        ("optimizer", {"parameters": {"no_decay": ["bias"]}}),
        ("model", {"model": {"in_channels": 3}}),
    ],
)
def test_a_difference_is_refused_by_name_and_says_how_it_is_permitted(group, plain, data, tmp_path, first, field, groups):
    spec = plain(*OPTIONS, "trainer.duration=4ep")
    with pytest.raises(UserError, match=f"{field} is not the same") as caught:
        group.run(1, train, changed(spec, first / "killed", **groups), data, tmp_path, systems.linear)
    assert f"resume.permit=[{field}]" in str(caught.value) and not (tmp_path / "checkpoints").exists()


def test_other_data_is_refused_and_when_permitted_begins_a_new_epoch(group, plain, data, other_data, tmp_path, first):
    spec = plain(*OPTIONS, "trainer.duration=18st")
    with pytest.raises(UserError, match="data is not the same"):
        group.run(1, train, changed(spec, first / "killed"), other_data, tmp_path / "no", systems.linear)
    (found,) = group.run(1, train, changed(spec, first / "killed", ("data",)), other_data, tmp_path / "yes", systems.linear)
    # 36 rows by 8 are 5 steps an epoch: from step 8 on, epochs 2 and 3 end at 13 and 18
    assert [(r["step"], r["epoch"]) for r in found["journal"] if r["kind"] == "step"] == [(s, 2 + (s > 12) + (s > 17)) for s in range(9, 19)]


def test_another_batch_size_takes_what_is_left_of_the_epoch_in_its_own_batches(group, plain, data, tmp_path, first):
    """Killed after 16 of the second epoch's 41 samples: 25 are left, 7 batches of 4; then two epochs of 11."""
    spec = changed(plain(*OPTIONS, "trainer.duration=4ep"), first / "killed", ("batch_size",), trainer={"batch_size": 4})
    (found,) = group.run(1, train, spec, data, tmp_path, systems.linear)
    assert found["summary"]["steps"] == 8 + 7 + 11 + 11 and found["summary"]["epochs"] == 4
    assert found["journal"][0]["total_steps"] == 37


def test_another_optimizer_begins_without_the_old_one_s_state(group, plain, data, tmp_path, first):
    adam = plain("optimizer=adamw", *OPTIONS, "trainer.duration=3ep")
    (found,) = group.run(1, train, changed(adam, first / "finished", ("optimizer",)), data, tmp_path / "adam", systems.linear)
    assert found["summary"]["steps"] == 18
    same = plain(*OPTIONS, "trainer.duration=3ep", "optimizer.weight_decay=0.1")
    (found,) = group.run(1, train, changed(same, first / "finished", ("optimizer",)), data, tmp_path / "sgd", systems.linear)
    latest = Checkpoints(tmp_path / "sgd" / "checkpoints").path("latest")
    assert systems.optimizer_options(latest)["weight_decay"] == 0.1  # as configured now, not as it was saved


def test_the_run_s_own_checkpoint_comes_first(group, plain, data, tmp_path, first):
    spec = changed(plain(*OPTIONS, "trainer.duration=4ep"), first / "finished")
    group.run(1, train, spec, data, tmp_path, systems.linear, 20)
    (found,) = group.run(1, train, spec, data, tmp_path, systems.linear)
    assert [r["step"] for r in found["journal"] if r.get("name") == "start"] == [12, 20]
