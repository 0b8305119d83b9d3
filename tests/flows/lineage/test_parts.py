"""What needs no run: comparing metrics, telling progress, stores that the tests build themselves."""

from __future__ import annotations

import math
from datetime import datetime

import pytest

from components.errors import UserError
from components.files import digest, write_json
from flows.lineage.hashing import Hasher
from flows.lineage.impact import impact
from flows.lineage.names import find
from flows.lineage.records import Records
from flows.lineage.reproduce import compare_metrics, reproduce_text
from flows.lineage.verify import verify, verify_text
from flows.store import Store

PARTS = {"stage": "train", "code": {"components.models": "a"}}


def fill(store: Store) -> None:
    with store.run("train", PARTS, on_wait=print) as partial:
        (partial.directory / "weights").write_text("w")
    found = store.find("train", PARTS)
    assert found is not None
    store.enter(found)


def test_metrics_within_and_beyond_a_tolerance():
    then = {"test": {"accuracy": 0.5, "loss": 2.0, "gone": 1.0, "undefined": math.nan}}
    now = {"test": {"accuracy": 0.5, "loss": 2.25, "new": 1.0, "undefined": math.nan}}
    rows = {row["metric"]: row for row in compare_metrics(then, now, 0.25)}
    assert {name: (row["difference"], row["within"]) for name, row in rows.items()} == {
        "test/accuracy": (0.0, True),
        "test/loss": (0.25, True),
        "test/gone": (None, False),
        "test/undefined": (0.0, True),
        "test/new": (None, False),
    }
    assert not compare_metrics({"a": {"x": 1.0}}, {"a": {"x": 1.0 + 2**-52}}, 0.0)[0]["within"]
    assert not compare_metrics({"a": {"x": 1.0}}, {"a": {"x": math.nan}}, 1.0)[0]["within"]


def test_the_text_names_what_is_not_within():
    found = {
        "run_id": "r",
        "tolerance": 0.0,
        "metrics": compare_metrics({"a": {"x": 1.0, "y": 2.0}}, {"a": {"x": 1.5, "y": 2.0}}, 0.0),
        "checkpoint": {"old": "a" * 64, "new": "b" * 64, "equal": False},
        "data": {"equal": True, "same_in_dvc": True},
        "specification": {"equal": True},
        "train_key": {"equal": True},
        "environment": ["torch 1 -> 2"],
        "reproduced": False,
    }
    lines = reproduce_text(found).splitlines()
    assert [line for line in lines if line.endswith("NOT WITHIN")] == [lines[2]] and "+0.5" in lines[2]
    assert lines[-1] == "NOT REPRODUCED" and "torch 1 -> 2" in lines[-2]


def test_much_to_read_is_told_now_and_then(tmp_path, monkeypatch):
    monkeypatch.setattr("flows.lineage.hashing.LINE_EVERY_SECONDS", 0.0)
    for name in "ab":
        (tmp_path / name).write_bytes(bytes(1 << 20))
    said: list[str] = []
    hasher = Hasher(said.append, total_bytes=2 << 20)
    assert len({hasher.sha256(tmp_path / name) for name in "aba"}) == 1
    assert said == ["read 1 of 2 MiB, 1 files", "read 2 of 2 MiB, 2 files"]


def test_a_clock_that_was_set_back_is_a_note(tmp_path, monkeypatch):
    store = Store(tmp_path)
    fill(store)

    class Earlier(datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(1999, 12, 31, tzinfo=tz)

    monkeypatch.setattr("flows.ledger.datetime", Earlier)
    store.ledger.append("note", {})
    found = verify(Records(tmp_path, store), print)
    assert found["sound"] and found["notes"][0].startswith("the clock was set back between entries 1 (")
    assert "1999-12-31" in verify_text(found)


def test_what_nobody_vouches_for_is_a_note(tmp_path):
    store = Store(tmp_path)
    fill(store)
    folder = next((tmp_path / "stages" / "train").iterdir())
    (folder / "beside").write_text("x")
    (folder.parent / f"{folder.name}.damaged-1").mkdir()
    assert verify(Records(tmp_path, store), print)["notes"] == [
        f"train/{folder.name}.damaged-1 was put aside as damaged",
        f"train/{folder.name}/beside is in no manifest",
    ]


def test_a_stage_that_was_killed_before_its_entry_is_no_damage(tmp_path):
    with Store(tmp_path).run("train", PARTS, on_wait=print) as partial:
        (partial.directory / "weights").write_text("w")
    found = verify(Records(tmp_path, Store(tmp_path)), print)
    assert found["sound"] and "not in the ledger yet" in found["notes"][0]


def test_a_run_that_goes_on_is_no_damage_and_one_that_nobody_can_read_is(tmp_path):
    write_json(tmp_path / "runs" / "a" / "run.json", {"run_id": "a", "status": "running", "stages": {}, "spec": {}, "spec_sha256": "x"})
    found = verify(Records(tmp_path, Store(tmp_path)), print)
    assert [c.partition(":")[0] for c in found["complaints"]] == ["damaged"]  # its specification
    (tmp_path / "runs" / "a" / "run.json").write_text("[")
    assert verify(Records(tmp_path, Store(tmp_path)), print)["complaints"] == ["damaged: runs/a/run.json: it cannot be read"]


def test_what_a_run_that_is_built_on_depends_on_is_the_other_s_too(tmp_path):
    store, data = Store(tmp_path), {"content_sha256": "c" * 64, "dvc": {}}
    for run_id, name, sha256, inputs in (("lower", "digits", "a" * 64, {}), ("upper", "cora", "b" * 64, {"upstream.teacher": "a" * 64})):
        with store.run("train", {"inputs": inputs}, on_wait=print) as partial:
            partial.outputs = {"checkpoint_sha256": sha256}
        stages = {"train": {"key": digest({"inputs": inputs})}}
        account = {"run_id": run_id, "data": {**data, "name": name, "key": name}, "checkpoint_sha256": sha256, "stages": stages}
        write_json(tmp_path / "runs" / run_id / "run.json", account)
    records = Records(tmp_path, store)
    assert {run["run_id"]: run["by"].partition(" ")[0] for run in impact(records, "digits")["runs"]} == {"lower": "trained", "upper": "built"}
    assert [run["run_id"] for run in impact(records, "cora")["runs"]] == ["upper"]


def test_an_empty_store_has_nothing_to_name(tmp_path):
    records = Records(tmp_path, Store(tmp_path))
    assert verify(records, print)["sound"]
    with pytest.raises(UserError, match="this store has none yet"):
        find(records, "cnn")
