"""Trace, impact, verify and reproduce on one real run. One file, so that one process makes the run for all of them."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from components.errors import UserError
from components.files import digest, read_json, sha256_file, write_json
from flows import record
from flows.lineage.impact import impact
from flows.lineage.reproduce import reproduce
from flows.lineage.trace import trace
from flows.lineage.verify import verify
from flows.store import Store
from tests.flows.lineage.conftest import ADDED, CHANGED, CONF, RUN, STORE, Trained, damaged_copy, last_object

LINKS = ["data", "specification", "code", "environment", *(f"stage {s}" for s in ("data", "check", "train", "evaluate", "report")), "checkpoint"]


def complaints(trained: Trained) -> list[str]:
    """What `verify` finds; it must not change anything."""
    before = {p: p.read_bytes() for p in trained.store.rglob("*") if p.is_file()}
    found = verify(trained.records, print)
    assert {p: p.read_bytes() for p in trained.store.rglob("*") if p.is_file()} == before
    assert found["sound"] is (not found["complaints"])
    told: list[str] = found["complaints"]
    return told


def link(found: dict, name: str) -> dict:
    return next(entry for entry in found["links"] if entry["link"] == name)


def failures(found: dict) -> list[str]:
    return [
        f"{check['state']}: {check['what']}: {check['why']}" for entry in found["links"] for check in entry["checks"] if check["state"] != "verified"
    ]


# What a run writes down


def test_the_account_names_the_files_of_the_configuration_by_their_content(trained):
    conf = trained.account["conf"]
    assert {"conf/config.yaml", "conf/data/digits.yaml", "conf/experiment/cnn/lenet5.yaml", "conf/debug/fast.yaml", CONF} <= set(conf)
    assert conf["conf/data/digits.yaml"] == sha256_file(trained.workspace.root / "conf/data/digits.yaml")
    assert "conf/optimizer/sgd.yaml" not in conf
    (entry,) = [e for e in trained.records.entries if e.kind == "run"]
    assert entry.body["conf"] == conf and entry.body["overrides"][:-1] == list(RUN[1:])


# Trace


def test_trace_prints_the_whole_chain_verified(trained):
    found = trained.workspace.result("trace", trained.run_id, f"--store={STORE}")
    assert [entry["link"] for entry in found["links"]] == [*LINKS, "metrics", "aliases", "ledger"]
    assert found["verified"] and failures(found) == []
    account = trained.account
    assert link(found, "data")["value"]["dvc"] == record.dvc_version(trained.workspace.root, "digits")
    assert link(found, "specification")["value"]["sha256"] == digest(account["spec"], length=64)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=trained.workspace.root, capture_output=True, text=True, check=True).stdout.strip()
    assert link(found, "code")["value"]["commit"] == head
    assert link(found, "code")["value"]["patch_sha256"] == sha256_file(trained.run / "uncommitted.patch")
    assert link(found, "stage train")["value"]["manifest_sha256"] == sha256_file(trained.stage("train") / "manifest.json")
    assert link(found, "checkpoint")["value"]["chosen"] == sha256_file(trained.checkpoint / "model.safetensors")
    assert link(found, "metrics")["value"] == account["metrics"]


def test_a_checkpoint_is_named_in_every_way_that_there_is(trained, tmp_path, monkeypatch):
    shutil.copytree(trained.checkpoint, tmp_path / "copied")
    shutil.copyfile(trained.checkpoint / "model.safetensors", tmp_path / "alone.safetensors")
    monkeypatch.chdir(trained.stage("train"))
    words = [
        *(trained.run_id, trained.run_id[:-3], str(trained.run), str(trained.run / "run.json"), str(trained.stage("train"))),
        *("checkpoints", "checkpoints/best", "checkpoints/latest", str(trained.checkpoint), str(trained.checkpoint / "state.json")),
        *(str(tmp_path / "copied"), str(tmp_path / "copied" / "model.safetensors"), str(tmp_path / "alone.safetensors")),
    ]
    for word in words:
        found = trace(trained.records, word, print)
        assert (found["run_id"], found["verified"]) == (trained.run_id, True), word


def test_a_copy_that_was_changed_is_not_taken_for_the_run_s(trained, tmp_path):
    shutil.copytree(trained.checkpoint, tmp_path / "copied")
    weights = tmp_path / "copied" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(UserError, match=rf"knows no such checkpoint; its meta.json says that it is of {trained.run_id}, so it was changed"):
        trace(trained.records, str(tmp_path / "copied"), print)
    shutil.copyfile(trained.checkpoint / "model.safetensors", weights)
    write_json(tmp_path / "copied" / "state.json", {})
    assert failures(trace(trained.records, str(tmp_path / "copied"), print))[0].startswith("damaged: copied/state.json")


def test_a_truncated_checkpoint_is_traced_by_where_it_lies_and_said_to_bedamaged_copy(copied):
    weights = copied.checkpoint / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    found = trace(copied.records, str(copied.checkpoint), print)
    assert found["run_id"] == copied.run_id and not found["verified"]
    assert any("train/" in told and "it has 1000 bytes, not " in told for told in failures(found))
    assert not link(found, "checkpoint")["verified"] and link(found, "stage data")["verified"]


def test_an_alias_is_the_end_of_the_chain(copied):
    sha256 = copied.account["checkpoint_sha256"]
    Store(copied.store).ledger.append("alias", {"alias": "champion", "checkpoint_sha256": sha256})
    Store(copied.store).ledger.append("alias", {"alias": "other", "checkpoint_sha256": "0" * 64})
    aliases = link(trace(copied.records, copied.run_id, print), "aliases")
    assert [a["alias"] for a in aliases["value"]] == ["champion"] and aliases["verified"]


def test_a_copied_checkpoint_is_traced_when_its_run_and_training_were_removed(copied, tmp_path):
    shutil.copytree(copied.checkpoint, tmp_path / "copied")
    ledger, key = Store(copied.store).ledger, copied.stage("train").name
    shutil.rmtree(copied.stage("train"))
    ledger.append("removed", {"stage": "train", "key": key})
    shutil.rmtree(copied.run)
    ledger.append("run_removed", {"run_id": copied.run_id})
    found = trace(copied.records, str(tmp_path / "copied"), print)
    assert found["run_id"] == copied.run_id
    assert {told.partition(":")[0] for told in failures(found)} == {"removed"}
    assert link(found, "code")["value"]["commit"] and link(found, "metrics")["value"]["test"]["samples"] == 359
    assert complaints(copied) == []
    with pytest.raises(UserError, match="the run was removed"):
        reproduce(copied.records, copied.run_id, 0.0, print)


def test_a_checkpoint_of_a_training_that_was_interrupted_has_a_chain_as_far_as_it_came(copied):
    account, train = copied.account, copied.stage("train")
    stages = {name: stage for name, stage in account["stages"].items() if name in ("data", "check")}
    failed = {**account["stages"]["train"], "status": "failed"}
    changes = {"status": "failed", "checkpoint_sha256": None, "metrics": {}, "stages": {**stages, "train": failed}}
    write_json(copied.run / "run.json", {**account, **changes})
    (train / "manifest.json").unlink()
    partial = train.rename(train.with_name(f"{train.name}.partial"))
    found = trace(copied.records, str(partial / "checkpoints" / "latest"), print)
    assert (found["run_id"], found["status"], found["verified"]) == (copied.run_id, "failed", False)
    assert {told.partition(":")[0] for told in failures(found)} == {"unknown"}
    assert link(found, "checkpoint")["value"] == {"chosen": None, "named": account["checkpoint_sha256"]}


@pytest.mark.parametrize("word", ["", "nothing", "runs", "/nowhere/checkpoints/best"])
def test_a_word_that_names_nothing_is_refused_with_what_there_is(trained, word):
    with pytest.raises(UserError, match="no run of this store begins with") as refused:
        trace(trained.records, word, print)
    assert trained.run_id in str(refused.value)


def test_an_ambiguous_word_is_refused_with_the_names(copied):
    shutil.copytree(copied.run, copied.run.with_name(f"{copied.run_id[:-1]}-other"))
    with pytest.raises(UserError, match="ambiguous: 2 runs"):
        trace(copied.records, "cnn-lenet5", print)


def test_a_file_that_is_no_checkpoint_of_this_store_is_refused(trained, tmp_path):
    (tmp_path / "model.pt").write_text("other")
    with pytest.raises(UserError, match="knows no such checkpoint"):
        trace(trained.records, str(tmp_path / "model.pt"), print)


def test_the_command_line_says_it_in_one_sentence(trained):
    for command in ("trace", "reproduce"):
        done = trained.workspace.run(command, "nothing", f"--store={STORE}")
        assert done.returncode == 2 and "no run of this store begins with 'nothing'" in done.stderr and "Traceback" not in done.stderr
    done = trained.workspace.run("verify", "--store=nowhere")
    assert done.returncode == 2 and "there is no store" in done.stderr


# Impact


def test_what_depends_on_data_by_any_of_its_names(trained):
    data = trained.account["data"]
    words = [
        "digits",
        data["content_sha256"][:6],
        data["dvc"]["raw"][:8],
        data["dvc"]["prepared"],
        "data/prepared/digits/card.json",
        "data/raw/digits",
    ]
    for word in words:
        (run,) = impact(trained.records, word)["runs"]
        assert (run["run_id"], run["experiment"], run["status"], run["since"]) == (trained.run_id, "cnn/lenet5", "finished", "unchanged"), word
        assert run["metrics"] == {f"{split}/loss": trained.account["metrics"][split]["loss"] for split in ("validation", "test")}
        assert run["started"] == trained.account["started"]


def test_what_depends_on_a_file_and_whether_it_has_changed_since(trained):
    since = {
        "conf/data/digits.yaml": "unchanged",
        "conf/experiment/cnn/lenet5.yaml": "unchanged",
        "conf/config.yaml": "unchanged",
        CONF: "changed",
        CHANGED: "changed",
        "components/tasks/classification.py": "unchanged",
        "components/data/sources/digits.py": "unchanged",
        "components/reporting/templates/page.html": "unchanged",
    }
    told = {file: [run["since"] for run in impact(trained.records, file)["runs"]] for file in since}
    assert told == {file: [word] for file, word in since.items()}
    assert impact(trained.records, CHANGED)["runs"][0]["by"] == "code of train, evaluate"
    for file in ("conf/optimizer/sgd.yaml", "components/models/cnn/resnet.py", "conf/data/mnist.yaml"):
        assert impact(trained.records, file)["runs"] == []


def test_impact_through_the_command_line_from_a_folder_below(trained):
    done = subprocess.run(
        [sys.executable, "-m", "flows", "impact", "lenet5.py", f"--store={trained.workspace.root / STORE}", "--json"],
        cwd=trained.workspace.root / "components/models/cnn", env={**trained.workspace.env, "PYTHONPATH": str(trained.workspace.root)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [run["run_id"] for run in last_object(done.stdout)["runs"]] == [trained.run_id]


@pytest.mark.parametrize(
    ("word", "told"), [("digist", "did you mean 'digits'"), ("ffffffff", "depends on"), ("gone.py", "no such file"), ("", "depends on")]
)
def test_what_nothing_depends_on_is_refused(trained, word, told):
    with pytest.raises(UserError, match=told):
        impact(trained.records, word)


def test_two_versions_that_begin_alike_are_told_apart(copied):
    data = copied.account["data"]
    other = data["content_sha256"][:8] + "f" * 56
    other_run = copied.run.with_name("cnn-lenet5-other")
    shutil.copytree(copied.run, other_run)
    write_json(other_run / "run.json", {**copied.account, "run_id": other_run.name, "data": {**data, "content_sha256": other}})
    with pytest.raises(UserError, match="ambiguous: 2 versions"):
        impact(copied.records, other[:8])
    assert [run["since"] for run in impact(copied.records, other)["runs"]] == ["changed"]


def test_of_a_run_whose_stages_are_gone_it_is_said_that_it_is_not_known(copied):
    shutil.rmtree(copied.stage("train"))
    found = impact(copied.records, "components/optim/schedules.py")
    assert (found["runs"], found["unjudged"]) == ([], [copied.run_id])


# Verify


def test_an_untouched_store_is_sound(trained):
    done = trained.workspace.run("verify", f"--store={STORE}", "--json")
    found = last_object(done.stdout)
    assert done.returncode == 0 and found["sound"] and found["notes"] == []
    counts = found["counts"]
    assert (counts["entries"], counts["stages"], counts["runs"], counts["removed"]) == (6, 5, 1, 0)
    hashed = sum(len(read_json(trained.stage(s) / "manifest.json")["files"]) + 1 for s in ("data", "check", "train", "evaluate", "report"))
    assert counts["files"] == hashed + 1  # and the patch


def test_every_kind_of_tampering_is_named(trained, tmp_path):
    done = trained.workspace.run("verify", f"--store={damaged_copy(trained, tmp_path).store}", "--json")
    assert done.returncode == 1
    told = "\n".join(last_object(done.stdout)["complaints"])
    for sign in (
        "model.safetensors: its sha256 is",
        "check.json: it has 2 bytes, not",
        "evaluate/",
        "metrics.json",
        "it is not the manifest that was entered",
        "what it says the stage was made from does not give its key",
        "uncommitted.patch: its sha256",
        "run.json: metrics: not what entry 6",
        "entries 2 to 2 are missing",
    ):
        assert sign in told, sign


@pytest.mark.parametrize(
    ("tamper", "told"),
    [
        (lambda t: shutil.rmtree(t.stage("check")), "missing: check/"),
        (lambda t: (t.stage("check") / "manifest.json").unlink(), "missing: check/"),
        (lambda t: (t.stage("check") / "manifest.json").write_text('{"format": 1, "fi'), "it is no manifest any more"),
        (lambda t: (t.run / "uncommitted.patch").unlink(), "missing: runs/"),
        (lambda t: (t.run / "run.json").write_text("{"), "run.json: it cannot be read"),
        (lambda t: shutil.rmtree(t.run), "the ledger tells of the run"),
        (lambda t: write_json(t.run / "run.json", {**t.account, "spec": {**t.account["spec"], "seed": 7}}), "specification in runs/"),
        (lambda t: (t.store / "ledger.jsonl").write_text(""), "entries 1 to 6 are missing at the end"),
        (lambda t: [(t.store / name).unlink() for name in ("ledger.jsonl", "ledger.head")], "missing: ledger.jsonl"),
        (lambda t: (t.store.parent / "data/prepared/digits/train-00000.targets.npy").write_bytes(b"x"), "it has 1 bytes"),
        (lambda t: shutil.rmtree(t.store.parent / "data"), "the data are gone"),
    ],
)
def test_what_is_missing_or_changed_is_named(copied, tamper, told):
    tamper(copied)
    assert any(told in complaint for complaint in complaints(copied)), complaints(copied)


def test_what_gc_removed_is_not_missing(copied):
    key = copied.stage("check").name
    Store(copied.store).ledger.append("removed", {"stage": "check", "key": key})
    shutil.rmtree(copied.stage("check"))
    assert complaints(copied) == []
    assert verify(copied.records, print)["counts"]["removed"] == 1


def test_a_newer_version_of_the_data_in_their_place_is_a_note(copied):
    from components.data.card import load_card, write_card

    prepared = copied.store.parent / "data" / "prepared" / "digits"
    card = load_card(prepared)
    write_card(prepared, type(card)(**{**vars(card), "title": "another"}))
    found = verify(copied.records, print)
    assert found["sound"] and any("version" in note and "lies there now" in note for note in found["notes"])


def test_a_store_of_a_newer_modelyard_is_refused_and_kept(copied):
    manifest = copied.stage("check") / "manifest.json"
    write_json(manifest, {**read_json(manifest), "format": 2})
    for look in (lambda: verify(copied.records, print), lambda: trace(copied.records, copied.run_id, print)):
        with pytest.raises(UserError, match="newer modelyard"):
            look()
    assert read_json(manifest)["format"] == 2


# Reproduce


def test_the_run_is_trained_again_to_the_bit_from_its_commit_and_its_patch(trained, tmp_path):
    assert not (trained.workspace.root / ADDED).exists()  # the working tree is not what the run was made from
    done = trained.workspace.run("reproduce", trained.run_id, f"--store={STORE}", "--json", TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    found = last_object(done.stdout)
    assert found["reproduced"] and found["scratch"] is None and list(tmp_path.glob("modelyard-*")) == []
    metrics = {m["metric"]: m for m in found["metrics"]}
    assert metrics["test/samples"]["new"] == 359 and all(m["difference"] == 0 for m in metrics.values())
    assert metrics["test/accuracy"]["old"] == trained.account["metrics"]["test"]["accuracy"]
    assert found["checkpoint"]["equal"] and found["train_key"]["equal"] and found["data"] == {"equal": True, "same_in_dvc": True}
    assert found["environment"] == []
    assert list((trained.workspace.root.parent / "remote" / "stages" / "train").glob("*/manifest.json"))
    assert "train: ran in" in done.stderr and "taken from" not in done.stderr  # though the run's remote has it
    assert "fetch digits" not in done.stderr and "prepare digits" not in done.stderr  # DVC's cache had them
    assert complaints(trained) == []  # and the run's own store is as it was


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda t: (t.run / "uncommitted.patch").unlink(), "missing or was changed"),
        (lambda t: (t.run / "uncommitted.patch").write_text("other"), "missing or was changed"),
        (lambda t: write_json(t.run / "run.json", {**t.account, "overrides": ["seed=5"]}), "not what was written down"),
        (lambda t: write_json(t.run / "run.json", {**t.account, "status": "failed"}), "has not finished"),
        (lambda t: t.rewrite(git={"commit": "1" * 40, "dirty": True}), "commit is not in this clone"),
        (lambda t: t.rewrite(git={"commit": None, "dirty": None}), "outside a git checkout"),
        (lambda t: t.rewrite(environment={**t.account["environment"], "nosuchpackage": "1.0"}), "nosuchpackage 1.0"),
    ],
)
def test_what_cannot_be_rebuilt_is_refused_before_anything_is_made(copied, tmp_path, monkeypatch, spoil, told):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    spoil(copied)
    with pytest.raises(UserError, match=told):
        reproduce(copied.records, copied.run_id, 0.0, print)
    assert list(tmp_path.glob("modelyard-*")) == []


def test_a_patch_that_does_not_fit_its_commit_is_refused_and_the_folder_is_named(copied, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    patch = b"--- a/README.md\n+++ b/README.md\n@@ -1 +1 @@\n-no such line\n+another\n"
    (copied.run / "uncommitted.patch").write_bytes(patch)
    copied.rewrite(patch_sha256=record.sha256(patch))
    said: list[str] = []
    with pytest.raises(UserError, match="does not apply"):
        reproduce(copied.records, copied.run_id, 0.0, said.append)
    (kept,) = tmp_path.glob("modelyard-*")
    assert any(str(kept) in line for line in said) and (kept / "project" / CHANGED).is_file()


def test_a_run_whose_command_is_refused_now_says_so(copied, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    copied.rewrite(overrides=["data=nosuchdata"])
    with pytest.raises(UserError, match="refused in the rebuilt project") as refused:
        reproduce(copied.records, copied.run_id, 0.0, print)
    assert "nosuchdata" in str(refused.value)


@pytest.mark.parametrize("tolerance", [-1.0, float("nan")])
def test_a_tolerance_must_be_a_distance(trained, tolerance):
    with pytest.raises(UserError, match="tolerance"):
        reproduce(trained.records, trained.run_id, tolerance, print)
