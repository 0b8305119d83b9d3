"""Data that are prepared anew under a run that goes on: it ends on its own version, or is refused; nothing of the new one stands under its key."""

from __future__ import annotations

import json
import shutil
from argparse import Namespace

import pytest

from components.data.params import PREPARED
from components.errors import RunError
from components.files import read_json, write_json
from flows.adapters.dvc_versions import cache_directory, data_version, held
from flows.attempts import read_attempts
from flows.commands import drift as command
from flows.cost.cost import cost_of
from flows.drift.look import ask, look
from flows.examine import newest_data
from flows.lease import write_holder
from flows.open import open_run
from flows.record import dvc_version
from flows.registry.candidate import candidate_of
from flows.registry.decide import decide_candidate
from flows.runs import read_run
from flows.search.trial import carry_out
from flows.stages import STAGES
from tests.flows.sales import DATA, write_sales

SALES = ["experiment=linear/regression_gd", "data=sales", "check=default", "trainer.batch_size=64", "cluster=inline", "tracking=disabled"]


@pytest.fixture(scope="module")
def project(make_workspace):
    workspace = make_workspace()
    for path in (workspace.root / "conf" / "data").glob("*.yaml"):
        path.unlink()  # DVC takes seconds to read the stages of all of them
    (workspace.root / "conf" / "data" / "sales.yaml").write_text(DATA)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workspace.root)
        for name, value in workspace.env.items():
            patch.setenv(name, value)
        yield workspace.root


@pytest.fixture(scope="module")
def moved(project):
    """A run that has come to the end of its training when the data grow, and somebody prepares them; what DVC said of its own."""
    write_sales(project, 600)
    run = open_run([*SALES, "trainer.duration=2ep"], "test")
    for stage in ("data", "check", "train"):
        run.stage(stage)
    before = dvc_version(project, "sales")
    write_sales(project, 700, price=2.0)
    newest = newest_data(open_run(SALES, "test"))
    assert newest.directory == project / PREPARED / "sales" == run.done["data"].directory  # in the place of the run's
    assert newest.outputs["content_sha256"] != run.done["data"].outputs["content_sha256"] and dvc_version(project, "sales") != before
    yield run, before
    run.__exit__(None, None, None)


def test_a_run_ends_on_the_data_that_it_began_with(project, moved):
    run, before = moved
    for stage in ("evaluate", "report"):
        run.stage(stage)
    own = run.done["data"].outputs["content_sha256"]
    assert read_json(run.done["evaluate"].directory / "metrics.json")["test"]["samples"] == 180  # 0.3 of 600
    report = run.done["report"].directory / "run"
    assert read_json(report / "card.json")["content_sha256"] == own == read_json(report / "run.json")["data"]["content_sha256"]
    named = read_json(run.directory / "run.json")["data"]
    assert named["dvc"] == before  # and not what dvc.lock says since
    with data_version(project, {**named, "content_sha256": "0" * 64}) as found:  # an md5 that belongs to another version
        assert found is None
    assert not list((project / ".dvc" / "tmp").glob("modelyard-data-*"))


@pytest.fixture(scope="module")
def decision(moved):
    run, _ = moved
    for stage in ("evaluate", "report"):
        run.stage(stage)
    return decide_candidate(run.store, "sales", candidate_of(run.store, run.run_id))


def test_it_is_judged_and_exported_on_them_too(moved, decision):
    run, _ = moved
    assert decision.status == "promoted" and decision.version is not None and decision.version.record["rows"]["train"] == 360
    described = read_json(decision.version.directory / "export" / "model.json")
    assert described["data"]["content_sha256"] == run.done["data"].outputs["content_sha256"]


def test_drift_of_one_model_is_asked_for_though_another_fails_and_though_somebody_looked(project, decision, capsys):
    plan = {"models": {"broken": ["experiment=nowhere"], "sales": SALES}}
    (project / "conf" / "nightly.yaml").write_text(json.dumps(plan))
    assert command.execute(Namespace(model=[], overrides=[], json=True)) == 1  # not by flows.cli.main, which keeps this process's signals
    broken, sales = json.loads(capsys.readouterr().out)["models"]
    assert broken["status"] == "failed" and "nowhere" in broken["why"] and not broken["retrain"]
    assert (sales["status"], sales["retrain"]) == ("drifted", True)
    sent = []
    ask(look([], []), lambda wanted: sent.append([one.model for one in wanted]))
    assert sent == [["sales"]]
    assert look(["sales"], [])[0].why == "these data have asked for retraining before"


def test_a_trial_is_of_the_data_that_its_search_began_with(moved):
    run, _ = moved
    reached = []
    carry_out([*SALES, "trainer.duration=3ep"], "test", run.run_id, reached.append, data=run.done["data"].key)
    assert reached[-1].finished
    trained = run.store.read("train", reached[-1].directory.name)
    assert trained.parts["inputs"]["data"] == run.done["data"].outputs["content_sha256"]


def test_the_gates_work_is_counted_with_the_candidates(decision):
    with open_run([*SALES, "trainer.duration=1ep"], "test") as run:
        for stage in STAGES:
            run.stage(stage)
    found = decide_candidate(run.store, "sales", candidate_of(run.store, run.run_id))
    assert found.before is not None and found.before.number == 1
    told = [(a.stage, a.kind, a.status) for a in read_attempts(run.directory)]
    assert told == [*((stage, "cpu", "ran") for stage in STAGES[1:]), ("evaluate", "cpu", "ran"), ("gate", "cpu", "ran")]
    own, champions = [a.key for a in read_attempts(run.directory) if a.stage == "evaluate"]
    assert own == run.done["evaluate"].key != champions  # the champion on the candidate's data
    stages = {s.stage: s for s in cost_of(run.store, read_run(run.store, run.run_id)).stages}
    assert stages["evaluate"].attempts == 2 and stages["gate"].device_seconds > 0.0


def test_a_search_goes_on_with_the_data_that_it_searched(moved, monkeypatch):
    run, _ = moved
    before = dict(run.done)
    monkeypatch.setattr(run, "_adopt", lambda tuned: None)  # the best is of the same configuration
    run._take_best(run.done["train"])
    assert run.done == before


def test_apart_is_from_the_cache_and_what_a_killed_process_left_of_it_goes(project, moved):
    run, _ = moved
    left = project / ".dvc" / "tmp" / "modelyard-data-left"
    write_holder(left / "holder.json")
    write_json(left / "holder.json", {**read_json(left / "holder.json"), "started": 1})  # a process of this number, long ago
    newest = newest_data(open_run(SALES, "test"))
    with held(project, run.store, newest, apart=True) as found:
        assert found.directory.is_relative_to(project / ".dvc" / "tmp")  # though data/prepared has this very version
        assert read_json(found.directory / "card.json") == read_json(newest.directory / "card.json")
        assert not left.exists()
    assert not found.directory.exists()


def test_a_damaged_shard_is_not_used_either(project, moved):
    run, _ = moved
    newest = newest_data(open_run(SALES, "test"))
    (shard,) = newest.directory.glob("test-*.inputs.npy")
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1] + b"x")  # the card beside it is as it was
    with held(project, run.store, newest) as found:
        assert found.directory != newest.directory and (found.directory / shard.name).read_bytes() == whole
    shard.write_bytes(whole)


def test_where_they_are_gone_it_is_refused(project, moved):
    run, before = moved
    md5, evaluated = before["prepared"], run.done["evaluate"].directory
    (cache_directory(project) / "files" / "md5" / md5[:2] / md5[2:]).unlink()
    shutil.rmtree(evaluated)
    with pytest.raises(RunError, match="run the same command again"):
        run.stage("evaluate")
    assert not evaluated.exists()
