"""`modelyard why`: a stage's decision from what the last attempt wrote down."""

from __future__ import annotations

import json

import pytest

from components.errors import UserError
from components.files import write_json
from flows.store import Store
from flows.why import why, why_text
from tests.flows.stores import add_run, add_stage

CHANGES = [
    {"key": "config.trainer.duration", "before": "40ep", "now": "5ep"},
    {"key": "inputs.data", "before": "aa", "now": "bb"},
    {"key": "code.components.training.loop", "before": "1", "now": "2"},
    {"key": "code.components.training", "before": "3", "now": "4"},
    {"key": "code.components.training.is_no_more", "before": "5", "now": "(absent)"},
    {"key": "code.templates/page.html", "before": "6", "now": "7"},
    {"key": "environment.torch", "before": "2.10", "now": "2.11"},
]


@pytest.fixture
def store(tmp_path):
    """Run `first` made data and train; run `second` reused the data and was killed in train."""
    made = Store(tmp_path)
    data = add_stage(made, "data", "digits", parts={"fetch": "unchanged", "prepare": "ran"})
    add_run(made, "first", {"data": data})
    second = add_run(made, "second", {"data": data}, status="running")
    reused = {"status": "reused", "seconds": 0.1, "key": data, "why": "unchanged", "changes": []}
    running = {"status": "running", "seconds": 0.0, "key": "0" * 16, "why": "trainer.duration: 40ep -> 5ep and 6 more", "changes": CHANGES}
    told = {"command": "modelyard run x=1", "started": "2026-11-21T16:00:00+00:00", "stages": {"data": reused, "train": running}}
    write_json(second / "decisions.json", told)
    write_json(made.root / "last" / "run.json", {"run_id": second.name})
    return made


def test_every_change_by_kind_and_modules_as_files(store):
    found = why(store, "train", None)
    assert (found["run_id"], found["run_status"], found["status"]) == ("cnn-lenet5-second", "interrupted", "interrupted")
    assert (found["command"], found["started"]) == ("modelyard run x=1", "2026-11-21T16:00:00+00:00")
    assert {group: [change["key"] for change in changes] for group, changes in found["changes"].items()} == {
        "configuration": ["trainer.duration"],
        "inputs": ["data"],
        "code": [
            "components/training/loop.py", "components/training/__init__.py", "components/training/is_no_more.py",
            "components/reporting/templates/page.html",
        ],
        "environment": ["torch"],
    }  # fmt: skip
    assert found["changes"]["configuration"] == [{"key": "trainer.duration", "before": "40ep", "now": "5ep"}]
    text = why_text(found)
    assert all(f"{c['before']} -> {c['now']}" in text for c in CHANGES) and "modelyard run x=1" in text
    json.dumps(found)


def test_what_was_reused_says_who_made_it_and_why(store):
    found = why(store, "data", "cnn-lenet5-s")
    assert found["status"] == "reused" and found["parts"] == {"fetch": "unchanged", "prepare": "ran"}
    assert found["made"]["why"] is None  # the ledger's entry names no run
    store.ledger.append("stage", {"stage": "data", "key": found["key"], "run_id": "cnn-lenet5-first"})
    made = why(store, "data", None)["made"]
    assert (made["run_id"], made["why"]) == ("cnn-lenet5-first", "never ran for this experiment")
    text = why_text(why(store, "data", None))
    assert "by cnn-lenet5-first, because: never ran for this experiment" in text and "fetch: unchanged; prepare: ran" in text


def test_a_stage_that_was_not_reached(store):
    found = why(store, "report", None)
    assert found["status"] == "not reached" and found["why"] == "the run is interrupted, train came last"
    assert "not reached" in why_text(found)


def test_the_nearest_name(store):
    with pytest.raises(UserError, match="did you mean 'evaluate'"):
        why(store, "evalute", None)
    with pytest.raises(UserError, match="no run of this store"):
        why(store, "train", "nothing")
