"""The store: a stage is whole or absent, runs once, and what was damaged is seen."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from components.errors import RunError, UserError
from components.files import digest, read_json, sha256_file, write_json
from flows.store import Manifest, Partial, Store
from tests.crash import crashes

ROOT = Path(__file__).parents[2]
PARTS = {"stage": "train", "config": {"epochs": 3}}


def fill(store: Store, text: str = "weights", parts=PARTS) -> Manifest:
    """Run the stage "train" with two files, one in a folder, and return what the store then finds."""
    with store.run("train", parts, on_wait=print) as partial:
        assert isinstance(partial, Partial)
        (partial.directory / "sub").mkdir(exist_ok=True)
        (partial.directory / "sub" / "model.bin").write_text(text)
        (partial.directory / "summary.json").write_text("{}")
        partial.outputs = {"model": "sub/model.bin"}
    found = store.find("train", parts)
    assert found is not None
    return found


def folders(store: Store) -> set[str]:
    return {p.name for p in (store.root / "stages" / "train").iterdir()}


def test_a_stage_is_found_by_what_it_was_made_from(tmp_path):
    store = Store(tmp_path)
    assert store.find("train", PARTS) is None
    found = fill(store)
    assert (found.stage, found.key, found.parts) == ("train", digest(PARTS), PARTS)
    assert found.outputs == {"model": "sub/model.bin"}
    assert set(found.files) == {"sub/model.bin", "summary.json"}  # not the manifest itself
    assert found.files["sub/model.bin"].sha256 == sha256_file(found.directory / "sub" / "model.bin")
    assert found.directory == tmp_path.resolve() / "stages" / "train" / digest(PARTS)
    assert store.find("train", {**PARTS, "config": {"epochs": 4}}) is None
    assert store.find("evaluate", PARTS) is None
    assert folders(store) == {digest(PARTS)}


def test_a_finished_stage_is_given_back_and_not_run(tmp_path):
    store = Store(tmp_path)
    first = fill(store)
    with store.run("train", PARTS, on_wait=print) as given:
        assert given == first


def test_an_error_in_the_block_leaves_the_stage_absent_and_its_directory_for_the_next_attempt(tmp_path):
    store = Store(tmp_path)
    with pytest.raises(ZeroDivisionError), store.run("train", PARTS, on_wait=print) as partial:
        (partial.directory / "checkpoint").write_text("half way")
        raise ZeroDivisionError
    assert store.find("train", PARTS) is None
    with store.run("train", PARTS, on_wait=print) as partial:
        assert (partial.directory / "checkpoint").read_text() == "half way"
    assert store.find("train", PARTS) is not None


def finish(store: Store, text: str) -> Manifest:
    """Run the stage as an attempt does that does not know how far the one before it came."""
    with store.run("train", PARTS, on_wait=print) as given:
        if isinstance(given, Partial):
            (given.directory / "sub").mkdir(exist_ok=True)
            (given.directory / "sub" / "model.bin").write_text(text)
            (given.directory / "summary.json").write_text("{}")
    found = store.find("train", PARTS)
    assert found is not None
    store.enter(found, experiment="cnn/lenet5")
    return found


def test_killed_at_any_step_the_stage_is_absent_or_whole_runs_on_and_is_entered_once(tmp_path):
    survived = adopted = 0
    for n in crashes(lambda n: finish(Store(tmp_path / str(n)), "first") and None):
        store = Store(tmp_path / str(n))
        before = store.find("train", PARTS)
        found = finish(store, "second")
        text = (found.directory / "sub" / "model.bin").read_text()
        survived += before is not None
        adopted += before is None and text == "first"
        assert before is None or before == found
        assert set(found.files) == {"sub/model.bin", "summary.json"}
        assert folders(store) == {digest(PARTS)}
        assert [e.body["key"] for e in store.ledger.entries()] == [digest(PARTS)] and store.ledger.complaints() == []
        assert not list((store.root / "leases").glob("*.json"))
    assert survived > 0  # killed after the rename
    assert adopted > 0  # killed between the manifest and the rename: what was finished is not run again


def test_killed_at_any_step_a_run_is_entered_once_for_what_it_is_made_of(tmp_path):
    bodies = [{"run_id": "cnn-1", "stages": {"train": key}, "metrics": {}} for key in "ab"]
    for n in crashes(lambda n: Store(tmp_path / str(n)).enter_run(tmp_path / str(n) / "run", bodies[0])):
        store = Store(tmp_path / str(n))
        for body in (bodies[0], bodies[0], bodies[1], bodies[1]):
            store.enter_run(tmp_path / str(n) / "run", body)
        assert [e.body for e in store.ledger.entries()] == bodies and store.ledger.complaints() == []


def test_a_manifest_whose_files_are_not_there_yet_is_not_adopted(tmp_path):
    store = Store(tmp_path)
    found = finish(store, "first")
    partial = found.directory.rename(found.directory.with_name(f"{found.key}.partial"))
    (partial / "sub" / "model.bin").write_text("half")
    assert (finish(store, "second").directory / "sub" / "model.bin").read_text() == "second"


def test_what_was_taken_over_is_not_committed(tmp_path):
    store = Store(tmp_path)
    with pytest.raises(RunError, match="another attempt's"), store.run("train", PARTS, on_wait=print) as partial:
        lease = store.lease("train", digest(PARTS))
        write_json(lease, {**read_json(lease), "token": "somebody"})
    assert store.find("train", PARTS) is None and isinstance(partial, Partial)


def test_the_manifest_is_the_last_file_to_be_written(tmp_path):
    found = fill(Store(tmp_path))
    times = {p.name: p.stat().st_mtime_ns for p in found.directory.rglob("*") if p.is_file()}
    assert max(times, key=times.__getitem__) == "manifest.json"


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: flip_a_byte(d / "sub" / "model.bin"),
        lambda d: (d / "summary.json").unlink(),
        lambda d: (d / "summary.json").write_text(""),
        lambda d: (d / "manifest.json").write_text('{"format": 1, "fil'),
        lambda d: (d / "manifest.json").write_text('{"format": 1}'),
        lambda d: (d / "manifest.json").write_text("[]"),
    ],
    ids=["a byte flipped", "a file gone", "a file emptied", "manifest cut", "manifest without its keys", "manifest of another shape"],
)
def test_a_damaged_stage_is_not_reused_and_its_evidence_is_kept(tmp_path, damage):
    store = Store(tmp_path)
    damage(fill(store).directory)
    assert store.find("train", PARTS) is None
    again = fill(store)
    assert again.directory.name == digest(PARTS)
    (aside,) = folders(store) - {digest(PARTS)}
    assert aside.startswith(f"{digest(PARTS)}.damaged-")


def test_another_time_of_change_alone_is_no_damage(tmp_path):
    store = Store(tmp_path)
    found = fill(store)
    os.utime(found.directory / "summary.json", (1, 1))
    assert store.find("train", PARTS) == found


def test_a_copied_store_verifies(tmp_path):
    fill(Store(tmp_path / "here"))
    shutil.copytree(tmp_path / "here", tmp_path / "there", copy_function=shutil.copyfile)  # times of change are new
    shutil.rmtree(tmp_path / "here")
    found = Store(tmp_path / "there").find("train", PARTS)
    assert found is not None and found.directory.is_relative_to(tmp_path.resolve() / "there")


def test_files_that_something_else_owns_are_verified_where_they_are(tmp_path):
    owned = tmp_path / "data" / "prepared"
    owned.mkdir(parents=True)
    (owned / "card.json").write_text("{}")
    store = Store(tmp_path / "store")
    with store.run("data", PARTS, on_wait=print) as partial:
        partial.files_in = owned
    found = store.find("data", PARTS)
    assert found.directory == owned.resolve() and set(found.files) == {"card.json"}
    (owned / "card.json").write_text("[]")
    assert store.find("data", PARTS) is None


def test_a_newer_format_is_told_and_not_overwritten(tmp_path):
    store = Store(tmp_path)
    path = fill(store).directory / "manifest.json"
    write_json(path, {**read_json(path), "format": 2})
    for look in (lambda: store.find("train", PARTS), lambda: fill(store)):
        with pytest.raises(UserError, match="newer modelyard"):
            look()
    assert read_json(path)["format"] == 2


def test_two_processes_that_want_the_same_stage_run_it_once(tmp_path):
    code = f"""
import sys, time
from pathlib import Path
from flows.store import Partial, Store
folder = Path({str(tmp_path)!r})
def wait(text):
    print("waited:", text)
    (folder / sys.argv[1]).touch()
with Store(folder).run("train", {PARTS!r}, on_wait=wait) as partial:
    if isinstance(partial, Partial):
        print("ran")
        with open(folder / "ran", "a") as stream:
            stream.write("x")
        while len(list(folder.glob("waits-*"))) < 2:
            time.sleep(0.01)
    else:
        print("reused")
"""
    started = [subprocess.Popen([sys.executable, "-c", code, f"waits-{n}"], cwd=ROOT, stdout=subprocess.PIPE, text=True) for n in range(3)]
    told = sorted(process.communicate(timeout=200)[0] for process in started)
    assert (tmp_path / "ran").read_text() == "x"
    assert told[0] == "ran\n"
    assert all(t.startswith("waited: process ") and " is running train-" in t and t.endswith("reused\n") for t in told[1:])


def test_the_last_parts_are_those_with_which_the_stage_was_last_done_for_the_experiment(tmp_path):
    store = Store(tmp_path)
    assert store.last_parts("train", "cnn/lenet5") is None
    for epochs in (3, 4):
        store.note_last("train", fill(store, parts={**PARTS, "config": {"epochs": epochs}}).key, "cnn/lenet5")
    assert store.last_parts("train", "cnn/lenet5")["config"] == {"epochs": 4}
    store.note_last("train", digest({**PARTS, "config": {"epochs": 3}}), "cnn/lenet5-wide")
    assert store.last_parts("train", "cnn/lenet5")["config"] == {"epochs": 4}
    assert store.last_parts("evaluate", "cnn/lenet5") is None
    shutil.rmtree(tmp_path / "stages")  # as gc may
    assert store.last_parts("train", "cnn/lenet5") is None
