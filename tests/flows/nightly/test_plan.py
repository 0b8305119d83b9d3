"""conf/nightly.yaml: what is read from it, and what is refused with which words."""

from __future__ import annotations

import pytest

from components.errors import UserError
from flows.compose import compose
from flows.nightly.plan import chosen, read_plan
from tests.flows.stores import PROJECT


def plan_of(tmp_path, text):
    (tmp_path / "conf").mkdir(exist_ok=True)
    (tmp_path / "conf" / "nightly.yaml").write_text(text)
    return read_plan(tmp_path)


def test_what_is_asked_for(tmp_path):
    plan = plan_of(tmp_path, "models:\n  a: [experiment=cnn/lenet5]\n  b: [experiment=cnn/lenet5, seed=1]\ndrift: {psi: 0.1}\ngpu_hours: 4\n")
    assert chosen(plan, []) == {"a": ["experiment=cnn/lenet5"], "b": ["experiment=cnn/lenet5", "seed=1"]}
    assert list(chosen(plan, ["b"])) == ["b"]
    assert (plan.drift.psi, plan.gpu_hours) == (0.1, 4)


def test_what_holds_for_every_model_comes_before_its_own(tmp_path):
    plan = plan_of(tmp_path, "models: {a: [cluster.workers=2], b: []}\noverrides: [cluster=ray, cluster.workers=8]\n")
    assert chosen(plan, []) == {"a": ["cluster=ray", "cluster.workers=8", "cluster.workers=2"], "b": ["cluster=ray", "cluster.workers=8"]}
    spec = compose(PROJECT, ["experiment=cnn/lenet5", *chosen(plan, ["a"])["a"]])
    assert (spec.cluster.address, spec.cluster.workers) == ("auto", 2)


def test_the_plan_of_this_project_composes():
    for overrides in chosen(read_plan(PROJECT), []).values():
        compose(PROJECT, overrides)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("models: {}\n", "names no model"),
        ("models: [a]\n", "nightly.models must be a mapping"),
        ("models: {a: experiment=cnn/lenet5}\n", r"nightly.models\S* must be a list"),
        ("model: {a: []}\n", "unknown key 'nightly.model', did you mean 'nightly.models'"),
        ("models: {a: []}\ndrift: {psy: 1}\n", "unknown key 'nightly.drift.psy', did you mean 'nightly.drift.psi'"),
        ("models: {a: [store=elsewhere]}\n", "gives a a store of its own"),
        ("models: [\n", "no YAML"),
    ],
)
def test_a_plan_that_is_none_is_refused(tmp_path, text, told):
    with pytest.raises(UserError, match=told):
        plan_of(tmp_path, text)


def test_an_unknown_model_and_no_plan_at_all(tmp_path):
    with pytest.raises(UserError, match="no model 'digit' is retrained, did you mean 'digits'"):
        chosen(plan_of(tmp_path, "models: {digits: [experiment=cnn/lenet5]}\n"), ["digit"])
    with pytest.raises(UserError, match="nothing says what to retrain"):
        read_plan(tmp_path / "elsewhere")
