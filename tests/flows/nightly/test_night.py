"""Nights in one process: what stays as it is, what is written down when something goes wrong, and what stops a candidate before the gate."""

from __future__ import annotations

import argparse
import json
import threading

import pytest

from components.errors import RunError, UserError
from components.files import read_json
from flows.commands import promote
from flows.housekeeping.living import Living
from flows.nightly.digest import digest_markdown, digest_text
from flows.nightly.night import _alone
from flows.registry.decide import decide_candidate
from flows.registry.export import export_candidate
from flows.registry.promotion import rollback
from flows.registry.versions import Registry
from tests.flows.yard import Yard

TUNED = ("trainer.duration=40ep", "gate.max_slowdown=1000000")  # what a weekly search would come to


@pytest.fixture(scope="module")
def yard(tmp_path_factory):
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield Yard(tmp_path_factory.mktemp("yard") / "project", monkeypatch)


def the_one(found):
    (outcome,) = found["outcomes"]
    return outcome


def promoted_by_command(yard, run_id, capsys, *, model="sales", because=None, as_json=True):
    """`modelyard promote RUN --model MODEL`: its exit code and what it printed."""
    capsys.readouterr()
    options = argparse.Namespace(run=run_id, model=model, because=because, store=str(yard.store.root), json=as_json)
    code, printed = promote.execute(options), capsys.readouterr().out
    return code, json.loads(printed.splitlines()[-1]) if as_json else printed


def test_night_and_weekly_search_do_not_undo_each_other(yard, capsys):
    """And a person can: what is promoted by its reason is held to the verdict of now, its stages held until that is done."""
    yard.plan({"sales": ()})
    assert the_one(yard.night())["champion"] == 1
    tuned = the_one(yard.night(*TUNED))
    assert (tuned["status"], tuned["champion"]) == ("promoted", 2)
    registry = Registry(yard.store)
    slowdown = next(f for f in registry.version("sales", 2).record["gate"]["findings"] if f["name"] == "slowdown")
    assert slowdown["passed"] and 0 < slowdown["numbers"]["champion"] < 1000  # milliseconds, of version 1's export

    found = yard.night()
    outcome = the_one(found)
    assert (outcome["status"], outcome["trained"], outcome["champion"], outcome["before"]) == ("unchanged", False, 2, 2)
    told = f"it is version 1, which was champion before version 2 took its place, and is left there; `modelyard promote {outcome['run_id']} --model"
    for text in (outcome["reasons"][0], digest_text(found), digest_markdown(found)):
        assert told in text, text
    assert "Nothing was trained" in digest_text(found) and "a version that was made before" in digest_text(found)
    assert the_one(yard.night(*TUNED))["reasons"] == []  # the champion itself

    code, answer = promoted_by_command(yard, outcome["run_id"], capsys)
    assert (code, answer["status"], answer["version"]) == (0, "unchanged", 2) and told in answer["reasons"][0]
    code, printed = promoted_by_command(yard, outcome["run_id"], capsys, as_json=False)
    assert printed.startswith("sales: unchanged, version 2 is champion\n  it is version 1,") and "\n  ok" not in printed

    held = []

    def look(line):
        if line.startswith("promote: exports"):
            held.extend(stage for stage, _ in Living(yard.store.root).users())

    candidate = yard.candidate()
    decision = decide_candidate(yard.store, "sales", candidate, "it was better", look)
    assert {"data", "check", "train", "evaluate", "report"} <= set(held) and not Living(yard.store.root).users()
    assert (decision.status, decision.version.number, registry.champion("sales").number) == ("promoted", 1, 1)
    entry = registry.newest_alias("sales")
    assert registry.version("sales", 1).record["gate"]["gain"] is None  # it was the first
    assert entry["passed"] is True and entry["gain"] == decision.verdict["gain"] and entry["gain"]["gain"] < 0.01


def records(yard):
    return sorted((yard.store.root / "nights").glob("*.json"))


def test_a_night_that_is_interrupted_says_what_was_promoted_before(yard, monkeypatch):
    yard.plan({"first": (), "second": ("seed=5",), "third": ()})
    carry_out = yard.carry_out

    def interrupted(run):
        if run.spec.seed == 5:
            raise KeyboardInterrupt
        carry_out(run)

    monkeypatch.setattr(yard, "carry_out", interrupted)
    before = set(records(yard))
    with pytest.raises(KeyboardInterrupt):
        yard.night()
    (path,) = set(records(yard)) - before
    found = read_json(path)
    assert found["interrupted"] == "second" and [(o["model"], o["status"]) for o in found["outcomes"]] == [("first", "promoted")]
    for digest in (path.with_suffix(".md"), path.with_suffix(".html")):
        assert "INTERRUPTED in the turn of second. Before it: 1 model, " in digest.read_text()


def test_a_price_table_that_is_none_is_found_before_anything_is_trained(yard):
    yard.plan({"never": ("seed=6",)})
    prices = yard.root / "conf" / "prices.yaml"
    before, runs = prices.read_text(), list((yard.store.root / "runs").glob("*"))
    prices.write_text("currency: EUR\nper_hour: {cpu: much}\n")
    try:
        with pytest.raises(UserError, match="the price table cannot be read"):
            yard.night()
    finally:
        prices.write_text(before)
    assert list((yard.store.root / "runs").glob("*")) == runs


def test_what_has_no_budget_left_is_left(yard):
    yard.plan({"late": ("seed=6",), "later": ()}, gpu_hours=0)
    found = yard.night()
    assert [(o["status"], o["trained"]) for o in found["outcomes"]] == [("left", False)] * 2
    assert "0 GPU-hours are spent" in digest_text(found) and found["interrupted"] is None


def test_a_limit_on_latency_holds_and_is_the_plan_s_of_today(yard, monkeypatch):
    """The run is the same, whatever the gate is. What is exported to be timed is swept away should somebody be killed there."""
    folders = []

    def seen(candidate, directory, verdict):
        folders.append(directory.name)
        export_candidate(candidate, directory, verdict)

    monkeypatch.setattr("flows.registry.export.export_candidate", seen)
    yard.plan({"slow": ("gate.max_latency_milliseconds=0.0001",)})
    outcome = the_one(yard.night())
    assert outcome["status"] == "refused" and outcome["champion"] is None
    assert outcome["reasons"][0].startswith("latency: ") and outcome["reasons"][0].endswith(" ms for one sample, at most 0.0001")
    yard.plan({"slow": ("gate.max_latency_milliseconds=100000",)})
    again = the_one(yard.night())
    assert (again["status"], again["trained"], again["run_id"]) == ("promoted", False, outcome["run_id"])
    assert len(folders) == 2 and all(name.startswith(".tmp-") for name in folders)


def test_data_of_another_form_are_no_comparison_and_a_person_decides(yard, capsys):
    """The night says what differs and what to do, and that does it."""
    yard.plan({"wider": ()})
    assert the_one(yard.night())["champion"] == 1
    yard.write_data(600, "wind")
    try:
        outcome = the_one(yard.night())
        told = "the champion of wider cannot be judged on the candidate's data, which are of another form: "
        assert outcome["status"] == "failed" and told + "column inputs was float32 (2,), is float32 (3,)" in outcome["reasons"][0]
        assert f"`modelyard promote {outcome['run_id']} --model wider --because ...`" in outcome["reasons"][0]
        code, answer = promoted_by_command(yard, outcome["run_id"], capsys, model="wider", because="the wind blows")
        assert (code, answer["status"], answer["before"], answer["version"]) == (0, "promoted", 1, 2)
        assert answer["reasons"][0].startswith(told) and answer["verdict"]["gain"] is None
        assert the_one(yard.night())["status"] == "unchanged"
        rollback(yard.store, "wider", None, "the wind is made up")
        refused = the_one(yard.night())
        assert refused["status"] == "refused" and refused["reasons"][-1] == "version 2 holds the same weights, and somebody went back from it"
    finally:
        yard.write_data(600)


def test_of_two_nights_one_waits_or_fails(tmp_path):
    said, entered = threading.Event(), threading.Event()

    def second():
        with _alone(tmp_path, wait=True, announce=lambda line: said.set()):
            entered.set()

    waits = threading.Thread(target=second)
    with _alone(tmp_path, wait=False, announce=print):
        with pytest.raises(RunError, match="another night is at work"), _alone(tmp_path, wait=False, announce=print):
            pass
        waits.start()
        assert said.wait(30) and not entered.is_set()
    waits.join(30)
    assert entered.is_set()
