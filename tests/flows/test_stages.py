"""Keys of the stages: what changes which, and what is said about it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from components.spec.schema import Target
from flows.compose import compose
from flows.stages import STAGES, compare, decide, environment, identity, key_parts, tell
from flows.store import Manifest, Store

ROOT = Path(__file__).parents[2]
OUTPUTS = {"data": {"content_sha256": "c" * 64}, "train": {"checkpoint_sha256": "w" * 64}}


def manifests() -> dict[str, Manifest]:
    return {s: Manifest(s, f"key of {s}", {}, OUTPUTS.get(s, {}), Path("nowhere"), {}, 0.0, "") for s in STAGES}


def configs(*overrides: str) -> dict[str, object]:
    spec = compose(ROOT, list(overrides))
    return {s: {k: v for k, v in key_parts(s, spec, manifests()).items() if k in ("config", "inputs")} for s in STAGES}


@pytest.fixture(scope="module")
def base():
    return configs()


@pytest.mark.parametrize(
    ("override", "changed"),
    [
        ("trainer.duration=3ep", {"train"}),
        ("optimizer.lr=0.1", {"train"}),
        ("schedule=constant", {"train"}),
        ("augment.train=[]", {"train"}),
        ("trainer.precision=bf16", {"train"}),
        ("trainer.ema_decay=0.9", {"train"}),
        ("parameters.no_decay=[bias]", {"train"}),
        ("phases={main: {every_steps: 2}}", {"train"}),
        ("resume.permit=[data]", {"train"}),
        ("cluster.workers=3", set()),  # who carries it out is nobody's business
        ("cluster.gpus_per_worker=1", set()),
        ("performance.compile=true", set()),
        ("watch.every_steps=0", set()),
        ("augment.always=[]", {"train", "evaluate"}),
        ("model.num_classes=11", {"train", "evaluate"}),
        ("loss.label_smoothing=0.1", {"train", "evaluate"}),
        ("seed=1", {"train", "evaluate"}),
        ("evaluate.batch_size=64", {"train", "evaluate"}),  # training validates with it
        ("evaluate.splits=[test]", {"evaluate"}),
        ("check.min_rows=11", {"check"}),
        ("data.shard_mib=32", {"data"}),
        ("data=mnist", {"data", "report"}),  # the others see it through their inputs
        ("expect=null", {"report"}),
        ("cluster.address='ray://elsewhere:10001'", set()),
        ("cluster.cpus_per_worker=0.5", set()),
        ("cluster.start_timeout_seconds=20", set()),
        ("cluster.min_workers=1", set()),
        ("tracking.mode=disabled", set()),
        ("store=/somewhere/else", set()),
        ("remote=s3://bucket/prefix", set()),
        ("description=other", set()),
    ],
)
def test_what_a_change_of_configuration_reaches(base, override, changed):
    after = configs(override)
    assert {stage for stage in STAGES if after[stage] != base[stage]} == changed


def test_inputs_are_the_hashes_of_what_is_read():
    spec, done = compose(ROOT), manifests()
    inputs = {s: key_parts(s, spec, done)["inputs"] for s in STAGES}
    assert inputs["data"] == {}
    assert inputs["check"] == inputs["train"] == {"data": "c" * 64}
    assert inputs["evaluate"] == {"data": "c" * 64, "checkpoint": "w" * 64}
    assert inputs["report"] == {s: f"key of {s}" for s in STAGES if s != "report"}


def test_the_code_of_everything_that_the_configuration_names_is_in_the_key():
    # A class of ours as the optimizer: none exists yet, so a module that no stage of training reaches stands for it.
    spec = dataclasses.replace(compose(ROOT), optimizer=Target("components.reporting.masking.Optimizer"))
    code = {s: key_parts(s, spec, manifests())["code"] for s in STAGES}
    assert {
        "components.models.cnn.lenet5",
        "components.tasks.classification",
        "components.losses.classification",
        "components.optim.schedules",
        "components.reporting.masking",
        "components.data.transforms",
        "components.training.loop",
    } <= set(code["train"])
    assert "components.models.cnn.lenet5" in code["evaluate"] and "components.optim.schedules" not in code["evaluate"]
    assert "components.data.sources.digits" in code["data"] and "components.models.cnn.lenet5" not in code["data"]
    assert not {m for found in code.values() for m in found} & {"components.files", "components.errors", "components.spec.parse"}


def test_the_environment_names_what_can_change_a_number():
    import torch

    assert set(environment()) == {"python", "torch", "numpy"}
    assert environment()["torch"] == torch.__version__


@pytest.mark.parametrize(
    ("override", "same"),
    [("cluster.address=auto", True), ("tracking.mode=offline", True), ("trainer.duration=3ep", False), ("data=mnist", False), ("seed=1", False)],
)
def test_the_same_work_is_the_same_run(override, same):
    assert (identity(compose(ROOT, [override])) == identity(compose(ROOT))) is same


def run_all(store: Store, overrides: list[str]) -> None:
    """Put every stage of a specification into the store, with the outputs that later keys read."""
    spec, done = compose(ROOT, overrides), {}
    for stage in STAGES:
        parts = key_parts(stage, spec, done)
        with store.run(stage, parts, on_wait=print) as partial:
            (partial.directory / "output").write_text(stage)
            partial.outputs = OUTPUTS.get(stage, {})
        done[stage] = store.find(stage, parts)
        store.note_last(stage, done[stage].key, spec.experiment)


def test_decisions(tmp_path):
    store = Store(tmp_path)
    spec = compose(ROOT)
    first = decide(spec, store)
    assert [d.why for d in first] == ["never ran for this experiment", "after data", "after check", "after train", "after evaluate"]
    run_all(store, [])
    assert [(d.stage, d.why) for d in decide(spec, store)] == [(s, "unchanged") for s in STAGES]
    longer = decide(compose(ROOT, ["trainer.duration=41ep", "cluster.address=auto"]), store)
    assert [d.manifest is not None for d in longer] == [True, True, False, False, False]
    assert [d.why for d in longer[2:]] == ["trainer.duration: 40ep -> 41ep", "after train", "after evaluate"]
    (store.root / "stages" / "check" / longer[1].manifest.key / "output").write_text("CHECK")
    damaged = decide(spec, store)
    assert [d.manifest is not None for d in damaged] == [True, False, False, False, False]
    assert damaged[1].why == "its files were missing or damaged"


def test_why_names_three_changes_and_counts_the_rest(tmp_path):
    store = Store(tmp_path)
    run_all(store, [])
    spec = compose(ROOT, ["trainer.duration=1ep", "trainer.batch_size=2", "optimizer.lr=3", "optimizer.weight_decay=4", "seed=5"])
    why = tell(compare("train", key_parts("train", spec, manifests()), store, "cnn/lenet5"))
    assert why == "seed: 0 -> 5; optimizer.lr: 0.004 -> 3; optimizer.weight_decay: 0.01 -> 4 and 2 more"
    added = compose(ROOT, ["trainer.duration=9st"])
    assert tell(compare("train", key_parts("train", added, manifests()), store, "cnn/lenet5")) == "trainer.duration: 40ep -> 9st"
    other_code = key_parts("train", compose(ROOT), manifests())
    other_code["code"]["components.training.loop"] = "another"
    assert tell(compare("train", other_code, store, "cnn/lenet5")).startswith("components.training.loop: ")
