"""`modelyard runs`: finding, listing, comparing, removing and pinning runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from components.errors import UserError
from components.files import read_json, write_json
from flows.compare import compare_runs, compare_text
from flows.housekeeping.discard import discard_text, remove_run
from flows.in_use import InUse
from flows.listing import list_runs, list_text, show_run, show_text
from flows.runs import find_run, last_run, pin, pin_text, read_run
from flows.store import Store
from tests.flows.stores import add_run, add_stage, dead_lease, lease_elsewhere


@pytest.fixture
def store(tmp_path):
    """Three runs: `alpha` and `beta` share their data; `gone` was killed in its first stage."""
    made = Store(tmp_path)
    data = add_stage(made, "data", "digits")
    for name, accuracy in (("alpha", 0.9), ("beta", 0.95)):
        add_run(made, name, {"data": data, "train": add_stage(made, "train", name)}, accuracy, checkpoint_sha256=f"sha of {name}")
    killed = add_run(made, "gone", {}, status="running", metrics={})
    partial = made.root / "stages" / "train" / f"{'0' * 16}.partial"
    partial.mkdir()
    (partial / "checkpoint").write_bytes(b"x" * 500)
    write_json(killed / "decisions.json", {"stages": {"train": {"key": "0" * 16, "status": "running"}}})
    return made


def test_a_run_is_found_by_an_unambiguous_beginning(store):
    assert find_run(store, "cnn-lenet5-a").name == find_run(store, "cnn-lenet5-alpha").name == "cnn-lenet5-alpha"
    add_run(store, "alphabet", {})
    assert find_run(store, "cnn-lenet5-alpha").name == "cnn-lenet5-alpha"  # whole, though another begins with it
    with pytest.raises(UserError, match="ambiguous: 4 runs begin so"):
        find_run(store, "cnn")
    for word in ("cnn-lenet5-alhpa", ""):
        with pytest.raises(UserError, match="no run of this store begins with"):
            find_run(store, word)
    with pytest.raises(UserError, match="did you mean 'cnn-lenet5-beta'"):
        find_run(store, "cnn-lenet5-bta")
    with pytest.raises(UserError, match="nothing has run"):
        last_run(store)


def test_the_list(store):
    rows = {row["run_id"].rpartition("-")[2]: row for row in list_runs(store, None)}
    assert list(rows) == ["alpha", "beta", "gone"]
    alpha = rows["alpha"]
    assert (alpha["experiment"], alpha["status"], alpha["seconds"], alpha["pinned"]) == ("cnn/lenet5", "finished", 4.0, False)
    assert (alpha["metric"], alpha["value"]) == ("test/accuracy", 0.9)
    files = [p for folder in ("stages/data", "runs/cnn-lenet5-alpha") for p in (store.root / folder).rglob("*") if p.is_file()]
    files += list((store.root / "stages" / "train" / read_json(store.root / "runs/cnn-lenet5-alpha/run.json")["stages"]["train"]["key"]).iterdir())
    assert alpha["bytes"] == sum(p.stat().st_size for p in files)
    assert rows["gone"]["value"] is None and rows["gone"]["bytes"] > 500
    assert list_runs(store, "cnn") == list_runs(store, "cnn/lenet5") == list(rows.values())
    with pytest.raises(UserError, match="did you mean 'cnn/lenet5'"):
        list_runs(store, "cnn/lenet")
    assert "test/accuracy 0.95" in list_text(list(rows.values())) and list_text([]) == "no run in this store"
    json.dumps(list(rows.values()))


def test_a_run_whose_process_is_gone_is_interrupted_and_one_that_is_there_runs(store):
    def status() -> str:
        return read_run(store, "cnn-lenet5-gone").status

    assert status() == "interrupted"
    use = InUse(store.root, "cnn-lenet5-gone", {})
    assert status() == "running"
    use.close()
    dead_lease(store.root / "running" / "cnn-lenet5-gone-1.json", run_id="cnn-lenet5-gone", stages=[])
    assert status() == "interrupted"
    lease_elsewhere(store.root / "running" / "cnn-lenet5-gone-2.json", run_id="cnn-lenet5-gone", stages=[])
    assert status() == "running"  # as far as can be told from here


def test_one_run(store):
    found = show_run(store, "cnn-lenet5-b")
    assert found["metrics"] == {"test": {"accuracy": 0.95}} and all(Path(folder).is_dir() for folder in found["directories"].values())
    text = show_text(found)
    assert "cnn-lenet5-beta: finished" in text and "0.95" in text
    assert "interrupted" in show_text(show_run(store, "cnn-lenet5-gone"))
    remove_run(store, "cnn-lenet5-alpha")
    (store.root / "stages" / "train" / found["stages"]["train"]["key"]).rename(store.root / "elsewhere")
    assert show_run(store, "cnn-lenet5-b")["directories"]["train"] is None


def test_two_runs_side_by_side(store):
    spec = {"data": {"name": "digits"}, "expect": [], "trainer": {"duration": "5ep"}, "seed": 1}
    add_run(store, "long", {}, spec=spec, metrics={"test": {"accuracy": 0.97, "loss": 0.25}}, environment={"torch": "2.11"}, git={"commit": "abc"})
    found = compare_runs(store, ["cnn-lenet5-alpha", "cnn-lenet5-long"])
    assert found["runs"] == ["cnn-lenet5-alpha", "cnn-lenet5-long"]
    assert found["differences"]["config.trainer.duration"] == ["40ep", "5ep"] and found["differences"]["config.seed"] == ["(absent)", 1]
    assert found["differences"]["environment.torch"] == ["(absent)", "2.11"] and found["differences"]["code.commit"] == [None, "abc"]
    assert "config.data.name" not in found["differences"]
    assert found["metrics"]["test/accuracy"] == {"values": [0.9, 0.97], "differences": [0.0, pytest.approx(0.07)]}
    assert found["metrics"]["test/loss"] == {"values": [None, 0.25], "differences": [None, None]}
    text = compare_text(found)
    assert "trainer.duration" in text and "(+0.07)" in text
    for words in (["cnn-lenet5-alpha"], ["cnn-lenet5-alpha", "cnn-lenet5-alph"]):
        with pytest.raises(UserError, match="nothing to compare"):
            compare_runs(store, words)


def test_a_run_goes_with_what_no_other_needs(store):
    own = read_json(store.root / "runs" / "cnn-lenet5-alpha" / "run.json")["stages"]
    found = remove_run(store, "cnn-lenet5-a")
    assert found["run_id"] == "cnn-lenet5-alpha" and found["removed"] == [f"stages/train/{own['train']['key']}"] and found["freed"] > 1000
    assert found["left"] == [{"path": f"stages/data/{own['data']['key']}", "why": "cnn-lenet5-beta needs it too"}]
    assert "needs it too" in discard_text(found)
    assert sorted(p.name for p in (store.root / "runs").iterdir()) == ["cnn-lenet5-beta", "cnn-lenet5-gone"]
    told = [(e.kind, e.body) for e in store.ledger.entries()][-2:]
    assert told[0][0] == "run_removed" and told[0][1]["run_id"] == "cnn-lenet5-alpha"
    assert told[1] == ("removed", {"stage": "train", "key": own["train"]["key"]})
    remove_run(store, "cnn-lenet5-gone")
    assert not list(store.root.glob("stages/train/*.partial"))
    remove_run(store, "cnn-lenet5-beta")
    assert not list(store.root.glob("stages/*/*")) and store.ledger.complaints() == []


def test_a_pinned_run_a_champion_and_a_running_one_are_refused(store):
    assert pin(store, "cnn-lenet5-a", pinned=True) == {"run_id": "cnn-lenet5-alpha", "pinned": True, "changed": True}
    assert "already" in pin_text(pin(store, "cnn-lenet5-a", pinned=True))
    assert [e.body for e in store.ledger.entries() if e.kind == "pinned"] == [{"run_id": "cnn-lenet5-alpha"}]
    with pytest.raises(UserError, match="pinned"):
        remove_run(store, "cnn-lenet5-alpha")
    pin(store, "cnn-lenet5-a", pinned=False)
    store.ledger.append("alias", {"alias": "best", "checkpoint_sha256": "sha of alpha"})
    with pytest.raises(UserError, match="champion: best"):
        remove_run(store, "cnn-lenet5-alpha")
    use = InUse(store.root, "cnn-lenet5-beta", {})
    with pytest.raises(UserError, match="it goes on"):
        remove_run(store, "cnn-lenet5-beta")
    use.close()
    assert len(list((store.root / "runs").iterdir())) == 3
    store.ledger.append("alias", {"alias": "best", "run_id": "cnn-lenet5-beta"})
    remove_run(store, "cnn-lenet5-alpha")
