"""Plain data to a Spec: every mistake with its path and the nearest name, and nothing lost on the way back."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from components.errors import UserError
from components.files import canonical_json
from components.spec.parse import expectation_met, parse_spec, to_plain
from components.spec.schema import Expectation, MonitorSpec, Target
from flows.compose import compose, group_choices

ROOT = Path(__file__).parents[2]


def put(plain, path, value):
    """Set the value at a dotted path; `...` deletes it."""
    *parents, last = path.split(".")
    for key in parents:
        plain = plain.setdefault(key, {})
    if value is ...:
        del plain[last]
    else:
        plain[last] = value


BAD = [  # path, value, what the message must hold
    ("trainr", {}, ["unknown key 'trainr'", "did you mean 'trainer'"]),
    ("trainer.duraton", "5ep", ["unknown key 'trainer.duraton'", "did you mean 'trainer.duration'"]),
    ("trainer.monitor.mod", "max", ["unknown key 'trainer.monitor.mod'", "did you mean 'trainer.monitor.mode'"]),
    ("data.fetch.file", {}, ["unknown key 'data.fetch.file'", "did you mean 'data.fetch.files'"]),
    ("model", ..., ["missing key 'model'"]),
    ("data.fetch.files", ..., ["data.fetch.files is empty", "package"]),
    ("data.fetch.path", "here", ["data.fetch needs one origin", "package", "path"]),
    ("trainer", 5, ["trainer must be a mapping", "5"]),
    ("trainer.batch_size", "five", ["trainer.batch_size has the wrong type", "'five' (str)", "int"]),
    ("trainer.batch_size", 5.0, ["trainer.batch_size has the wrong type", "5.0 (float)", "int"]),
    ("trainer.batch_size", True, ["trainer.batch_size has the wrong type", "True (bool)"]),
    ("trainer.clip_norm", False, ["trainer.clip_norm has the wrong type"]),
    ("trainer.batch_size", None, ["trainer.batch_size has the wrong type", "NoneType"]),
    ("trainer.duration", 5, ["trainer.duration has the wrong type", "5 (int)", "str"]),
    ("trainer.accumulate", 0, ["trainer.accumulate is out of range", "at least 1"]),
    ("trainer.clip_norm", -0.5, ["trainer.clip_norm is out of range", "at least 0"]),
    ("trainer.clip_norm", float("nan"), ["trainer.clip_norm is not finite"]),
    ("check.max_imbalance", float("inf"), ["check.max_imbalance is not finite"]),
    ("seed", -1, ["seed is out of range"]),
    ("data.num_classes", 1, ["data.num_classes is out of range", "at least 2"]),
    ("trainer.precision", "bf61", ["trainer.precision has no such value", "did you mean 'bf16'", "fp32, bf16, fp16"]),
    ("trainer.monitor.mode", "maximum", ["trainer.monitor.mode has no such value", "did you mean 'max'"]),
    ("evaluate.splits", "test", ["evaluate.splits must be a list", "'test'"]),
    ("evaluate.splits", ["tset"], ["evaluate.splits[0] has no such value", "did you mean 'test'"]),
    ("evaluate.splits", [], ["evaluate.splits is empty"]),
    ("augment.train", {"_target_": "x"}, ["augment.train must be a list"]),
    ("augment.train", ["RandomShift"], ["augment.train[0] does not say what to build"]),
    ("data.fetch.files", ["a"], ["data.fetch.files must be a mapping"]),
    ("data.fetch.files", {"a": 5}, ["data.fetch.files.a has the wrong type"]),
    ("model", {"num_classes": 10}, ["model does not say what to build", "_target_"]),
    ("model._target_", 5, ["model does not say what to build"]),
    ("model._target_", "components.models.cnn.lenet5.LeNet", ["model._target_ names nothing", "did you mean 'LeNet5'"]),
    ("model.num_clases", 3, ["unknown key 'model.num_clases'", "did you mean 'model.num_classes'"]),
    ("model.num_classes", "ten", ["model.num_classes has the wrong type", "'ten' (str)"]),
    ("optimizer.lr", float("nan"), ["optimizer.lr is not finite"]),
    ("optimizer.betas", [0.9, float("inf")], ["optimizer.betas[1] is not finite"]),
    ("schedule.step", 3, ["unknown key 'schedule.step'"]),  # the loop gives it
    ("schedule.warmup", 500, ["schedule.warmup is no length of training", "500st (steps)"]),
    ("augment.train", [{"_target_": "components.data.transforms.RandomShift"}], ["missing key 'augment.train[0].pixels'"]),
    ("expect", {"digits": 0.97}, ["expect.digits must be a mapping", "0.97"]),
    ("expect", {"digits": {"test/accuracy": 0.97}}, ["expect.digits.test/accuracy must be a mapping"]),
    ("expect", {"digits": {"test/accuracy": {"minimun": 0.97}}}, ["minimun", ".minimum'"]),
    ("expect", {"digits": {"test/accuracy": {}}}, ["expect.test/accuracy needs one bound"]),
    ("expect", {"digits": {"test/accuracy": {"minimum": 0.9, "maximum": 0.99}}}, ["needs one bound"]),
    ("expect", "high", ["expect must be a list"]),
    ("cluster.workers", 2, ["cluster.workers does not fit cluster.backend=inline", "cluster=local"]),
    ("cluster.min_workers", 2, ["cluster.min_workers is more than cluster.workers", "min_workers=2, workers=1"]),
    ("trainer.batch_size", 0, ["trainer.batch_size is out of range"]),
]


@pytest.mark.parametrize(("path", "value", "told"), BAD, ids=[f"{path}={value}" for path, value, _ in BAD])
def test_a_mistake_is_told_with_its_path_and_the_nearest_name(plain, path, value, told):
    put(plain, path, value)
    with pytest.raises(UserError) as caught:
        parse_spec(plain)
    for part in told:
        assert part in str(caught.value)


def test_defaults_types_and_the_input_is_left_as_it_was(plain):
    before = json.dumps(plain)
    plain["trainer"] = {"clip_norm": 1}
    spec = parse_spec(plain)
    assert spec.trainer.clip_norm == 1.0 and isinstance(spec.trainer.clip_norm, float)
    assert spec.trainer.monitor == MonitorSpec("validation/accuracy", "max")
    assert spec.augment.train == (Target("components.data.transforms.RandomShift", {"pixels": 1}),)
    del plain["trainer"]
    assert json.dumps(plain) == before
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.seed = 1


def test_expectations_are_those_of_the_data_set(plain):
    assert parse_spec(plain).expect == (Expectation("test/accuracy", minimum=0.97),)
    plain["data"]["name"] = "mnist"
    assert parse_spec(plain).expect == (Expectation("test/accuracy", minimum=0.5),)
    plain["data"]["name"] = "letters"
    assert parse_spec(plain).expect == ()
    plain["expect"] = None
    assert parse_spec(plain).expect == ()


@pytest.mark.parametrize(
    ("bounds", "value", "met"),
    [
        ({"minimum": 0.9}, 0.9, True),
        ({"minimum": 0.9}, 0.89, False),
        ({"maximum": 0.1}, 0.1, True),
        ({"maximum": 0.1}, 0.11, False),
        ({"minimum": 0.9}, [0.9], None),
    ],
)
def test_an_expectation_is_met_at_its_bound(bounds, value, met):
    assert expectation_met(Expectation("test/accuracy", **bounds), {"test": {"accuracy": value}}) is met


def test_an_expectation_of_something_that_was_not_measured_is_undecided():
    assert expectation_met(Expectation("test/accuracy", minimum=0.9), {"validation": {"accuracy": 1.0}}) is None


@pytest.mark.parametrize("override", [f"{group}={choice}" for group in ("debug", "experiment") for choice in group_choices(ROOT / "conf", group)])
def test_every_composed_spec_comes_back_from_json(override):
    spec = compose(ROOT, [override])
    plain = to_plain(spec)
    again = parse_spec(json.loads(canonical_json(plain)))
    assert again == spec
    assert canonical_json(to_plain(again)) == canonical_json(plain)
    assert override in (f"experiment={spec.experiment}", f"debug={override.partition('=')[2]}")


@pytest.mark.parametrize(("key", "told"), [("epochs", "trainer.duration=5ep"), ("max_steps", "trainer.duration=500st"), ("lr", "optimizer.lr")])
def test_what_people_of_other_tools_type_first_is_answered(plain, key, told):
    with pytest.raises(UserError, match=f"unknown key 'trainer.{key}'") as caught:
        parse_spec({**plain, "trainer": {key: 5}})
    assert told in str(caught.value)
