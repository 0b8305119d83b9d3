"""A run that builds on another: trained first, or reused, and part of the key."""

from __future__ import annotations

import pytest

from components.errors import UserError
from flows.open import open_run
from flows.stages import STAGES

SHORT = ["debug=inline", "tracking=disabled", "evaluate.max_batches=1"]


def overrides(teacher_steps):
    return [*SHORT, "trainer.duration=3st", f"upstream.teacher=['debug=inline','trainer.duration={teacher_steps}st','evaluate.max_batches=1']"]


@pytest.fixture(scope="module")
def project(make_workspace):
    workspace = make_workspace()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workspace.root)
        for name, value in workspace.env.items():
            patch.setenv(name, value)
        yield workspace


def carry_out(teacher_steps):
    said = []
    with open_run(overrides(teacher_steps), "test", said.append) as run:
        for stage in STAGES:
            run.stage(stage)
    return run, said


def test_the_upstream_run_is_trained_first_and_its_checkpoint_is_in_the_key(project):
    run, said = carry_out(2)
    assert said.index(next(line for line in said if line.startswith("upstream: train: ran"))) < said.index(
        next(line for line in said if line.startswith("train: ran"))
    )
    teacher = run.done["upstream.teacher"]
    assert teacher.outputs["summary"]["steps"] == 2 and run.done["train"].outputs["summary"]["steps"] == 3
    for stage in ("train", "evaluate"):
        assert run.done[stage].parts["inputs"]["upstream.teacher"] == teacher.outputs["checkpoint_sha256"]

    again = open_run(overrides(2), "test")
    assert again.reuse_all() and again.done["upstream.teacher"].key == teacher.key

    changed = open_run(overrides(1), "test")
    assert not changed.reuse_all()
    other, said = carry_out(1)
    assert other.results["data"].status == "reused" and other.results["train"].status == "ran"
    assert other.done["upstream.teacher"].key != teacher.key


def test_a_chain_is_refused(project):
    chain = [*SHORT, "upstream.teacher=['upstream.grandmother=[x]']"]
    with pytest.raises(UserError, match=r"upstream\.teacher builds on other runs"):
        open_run(chain, "test").reuse_all()
