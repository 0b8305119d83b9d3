"""Stages by a remote: whole or absent there, verified on the way back, and never a reason for a run to fail."""

from __future__ import annotations

import json
import shutil
import threading
import uuid
from pathlib import Path

import pytest

from components.errors import UserError
from components.files import digest, read_json, sha256_file, write_json
from flows.adapters.remote import Remote
from flows.exchange import Exchange
from flows.store import Manifest, Partial, Store
from tests.crash import crashes

PARTS = {"stage": "train", "config": {"epochs": 3}}
KEY = digest(PARTS)
FOLDER = f"stages/train/{KEY}"


class Machine:
    """A store with a remote, and what was said to its user."""

    def __init__(self, root: Path, url: str) -> None:
        self.said: list[str] = []
        self.root, self.url = root, url
        self.new_process()

    def new_process(self) -> None:
        """What one process remembers, the next does not."""
        self.exchange = Exchange(self.root, Remote(self.url))
        self.store = Store(self.root, self.exchange)

    def stage(self, text: str = "weights", push: bool = True) -> str:
        """Do the stage "train", and say how: ran, pulled."""
        with self.store.run("train", PARTS, self.said.append) as given:
            if isinstance(given, Partial):
                (given.directory / "sub").mkdir(exist_ok=True)
                (given.directory / "sub" / "model.bin").write_text(text)
                (given.directory / "again.bin").write_text(text)  # the same content under another name
                (given.directory / "summary.json").write_text("{}")
                given.outputs = {"model": "sub/model.bin"}
        found = self.store.find("train", PARTS)
        assert found is not None
        self.store.enter(found, run_id="r-1")
        if push:
            self.exchange.push("train", KEY, found.source, self.said.append)
        return "ran" if isinstance(given, Partial) else "pulled"

    def finish(self, status: str = "finished", run_id: str = "r-1", key: str = KEY, patch: str | None = None) -> None:
        run = self.root / "runs" / run_id
        write_json(run / "run.json", {"status": status, "stages": {"train": {"key": key}}, "patch_sha256": patch and "p", "by": self.root.name})
        if patch:
            (run / "uncommitted.patch").write_text(patch)
        self.exchange.finish(run, self.said.append)

    def found(self) -> Manifest:
        found = self.store.find("train", PARTS)
        assert found is not None
        return found

    def model(self) -> str:
        return (self.found().directory / "sub" / "model.bin").read_text()


@pytest.fixture
def share(tmp_path):
    """The folder behind the remote, to look at it and to do it harm."""
    (tmp_path / "share").mkdir()
    return tmp_path / "share"


@pytest.fixture
def machine(tmp_path, share):
    return lambda name: Machine(tmp_path / name, f"file://{share}")


def objects(share: Path) -> set[str]:
    return {p.relative_to(share).as_posix() for p in share.rglob("*") if p.is_file()}


@pytest.mark.parametrize("protocol", ["memory", "file"])
def test_a_stage_that_one_machine_ran_is_taken_by_another(tmp_path, share, protocol):
    url = f"file://{share}" if protocol == "file" else f"memory://{uuid.uuid4().hex}"
    a, b = Machine(tmp_path / "a", url), Machine(tmp_path / "b", url)
    assert (a.stage(), b.stage()) == ("ran", "pulled")
    ours, theirs = a.found(), b.found()
    assert (theirs.parts, theirs.outputs, theirs.seconds, theirs.created) == (ours.parts, ours.outputs, ours.seconds, ours.created)
    assert {n: e.sha256 for n, e in theirs.files.items()} == {n: e.sha256 for n, e in ours.files.items()}
    assert (ours.source, theirs.source) == (None, url)
    assert [e.body.get("from") for e in a.store.ledger.entries()] == [None]
    assert [e.body.get("from") for e in b.store.ledger.entries()] == [url]
    assert [p.name for p in (b.root / "stages" / "train").iterdir()] == [KEY]  # nothing half-written is left
    assert a.said[0].startswith(f"train: pushed to {url}, 3 files, 0.0 MiB in ")
    assert b.said[0].startswith(f"train: taken from {url}, 3 files, 0.0 MiB in ") and len(b.said) == 1


def test_files_are_named_by_their_content_and_two_of_one_content_are_one(machine, share):
    a = machine("a")
    a.stage()
    names = {f"{FOLDER}/{e.sha256}{Path(n).suffix}" for n, e in a.found().files.items()}
    assert len(names) == 2 and objects(share) == names | {f"{FOLDER}/manifest.json"}


def test_what_is_pushed_is_not_asked_about_again(machine, share):
    a = machine("a")
    a.stage()
    a.finish()
    shutil.rmtree(share)  # whoever asks now is told so
    a.new_process()
    before = list(a.said)
    a.exchange.push("train", KEY, None, a.said.append)
    a.exchange.finish(a.root / "runs" / "r-1", a.said.append)
    assert a.said == before


def test_another_remote_is_given_what_the_first_one_has(machine, tmp_path):
    a = machine("a")
    a.stage()
    (tmp_path / "second").mkdir()
    Machine(a.root, f"file://{tmp_path}/second").stage()
    assert f"{FOLDER}/manifest.json" in objects(tmp_path / "second")


def harm_flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)


HARMS = {
    "flipped": (harm_flip, "has another sha256 than its name"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:3]), "has 3 bytes, expected 7 bytes"),
    "absent": (Path.unlink, "is absent, expected 7 bytes"),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_damaged_object_is_named_and_the_stage_runs_and_mends_the_remote(machine, share, harm):
    machine("a").stage()
    (path,) = share.rglob("*.bin")
    act, told = HARMS[harm]
    act(path)
    b, c = machine("b"), machine("c")
    assert b.stage() == "ran"
    assert b.said[0] == f"train: file://{share}/{FOLDER}/{path.name} {told}: not used"
    assert sha256_file(path) == path.stem  # b has written it anew
    assert c.stage() == "pulled" and c.model() == "weights"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda m: m["files"].update({"../../evil": next(iter(m["files"].values()))}), "manifest.json names a file '../../evil'"),
        (lambda m: m["files"].update({"/etc/evil": next(iter(m["files"].values()))}), "manifest.json names a file '/etc/evil'"),
        (lambda m: m["files"]["again.bin"].update(sha256="../../../secret"), "manifest.json names a file 'again.bin'"),
        (lambda m: m["parts"]["config"].update(epochs=4), "manifest.json is that of another stage"),
        (lambda m: m.update(stage="evaluate"), "manifest.json is that of another stage"),
        (lambda m: m.update(directory="../../../.."), "manifest.json is that of another stage"),
        (lambda m: m.pop("files"), "manifest.json is no manifest"),
    ],
)
def test_a_manifest_that_lies_is_refused(machine, share, tmp_path, change, told):
    machine("a").stage()
    manifest = read_json(share / FOLDER / "manifest.json")
    change(manifest)
    write_json(share / FOLDER / "manifest.json", manifest)
    before = objects(tmp_path)
    b = machine("b")
    assert b.stage(push=False) == "ran"
    assert b.said == [f"train: file://{share}/{FOLDER}/{told}: not used"]
    assert all(name.startswith("b/") for name in objects(tmp_path) - before)


def test_a_manifest_of_a_newer_modelyard_asks_for_an_update(machine, share):
    machine("a").stage()
    write_json(share / FOLDER / "manifest.json", {**read_json(share / FOLDER / "manifest.json"), "format": 2})
    with pytest.raises(UserError, match="newer modelyard"):
        machine("b").stage()


def test_a_refused_stage_leaves_the_interrupted_training_where_it_was(machine, share):
    machine("a").stage()
    harm_flip(next(share.rglob("*.bin")))
    b = machine("b")
    half = b.root / "stages" / "train" / f"{KEY}.partial" / "checkpoint"
    half.parent.mkdir(parents=True)
    half.write_text("half way")
    with pytest.raises(ZeroDivisionError), b.store.run("train", PARTS, b.said.append) as given:
        assert isinstance(given, Partial) and [p.name for p in given.directory.iterdir()] == ["checkpoint"]
        raise ZeroDivisionError
    assert half.read_text() == "half way"


def test_killed_at_any_step_of_a_push_there_is_no_manifest_without_its_files(tmp_path):
    def push(n: int) -> None:
        a, share = tmp_path / f"a{n}", tmp_path / f"share{n}"
        Machine(a, f"file://{share}").exchange.push("train", KEY, None, lambda line: None)

    for n in range(1, 40):
        (tmp_path / f"share{n}").mkdir()
        Machine(tmp_path / f"a{n}", f"file://{tmp_path}/share{n}").stage(push=False)
    for n in crashes(push):
        a, b = (Machine(tmp_path / f"{name}{n}", f"file://{tmp_path}/share{n}") for name in "ab")
        if f"{FOLDER}/manifest.json" in objects(tmp_path / f"share{n}"):
            assert b.stage() == "pulled"
        if n == 1:  # killed before it was written down that the stage is to be pushed: the same command knows
            a.stage()
        a.finish()  # the next run, of whatever: it pushes what is left
        c = Machine(tmp_path / f"c{n}", f"file://{tmp_path}/share{n}")
        assert c.stage() == "pulled" and c.model() == "weights", n


def test_killed_at_any_step_of_a_pull_the_store_has_the_whole_stage_or_none(tmp_path, machine):
    machine("a").stage()
    for n in crashes(lambda n: machine(f"b{n}").stage(push=False) and None):
        b = machine(f"b{n}")
        found = b.store.find("train", PARTS)
        assert found is None or b.model() == "weights"
        b.stage(push=False)
        assert b.found().source == b.url and b.model() == "weights"
        assert [p.name for p in (b.root / "stages" / "train").iterdir() if ".partial" not in p.name] == [KEY]


def test_many_writers_of_one_key_leave_one_whole_stage(machine):
    """Trained at the same time on machines that know nothing of each other, and not equal to the bit."""
    writers = [machine(f"w{i}") for i in range(6)]
    for i, writer in enumerate(writers):
        writer.stage(f"weights {i}", push=False)
    barrier = threading.Barrier(len(writers))

    def push(writer: Machine) -> None:
        barrier.wait()
        writer.stage()

    threads = [threading.Thread(target=push, args=(writer,)) for writer in writers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    reader = machine("reader")
    assert reader.stage() == "pulled" and reader.model() in {f"weights {i}" for i in range(6)}
    assert not [line for writer in writers for line in writer.said if "warning" in line]


def test_an_absent_remote_is_one_line_and_the_next_run_pushes_what_is_left(machine, share):
    share.rename(share.with_name("unplugged"))
    a = machine("a")
    assert a.stage() == "ran"
    a.finish()
    (line,) = a.said
    assert line.startswith(f"warning: file://{share} cannot be reached: ")
    assert line.endswith("; the run goes on here, and the next one pushes what is left")
    share.with_name("unplugged").rename(share)
    a.new_process()
    a.finish(run_id="r-2", key="other")
    assert {f"{FOLDER}/manifest.json", "runs/r-1/run.json", "runs/r-2/run.json"} <= objects(share)
    assert machine("b").stage() == "pulled"


def test_a_file_that_was_changed_here_is_not_pushed(machine, share):
    a = machine("a")
    a.stage(push=False)
    harm_flip(a.found().directory / "summary.json")
    a.exchange.push("train", KEY, None, a.said.append)
    assert "summary.json is not what its manifest says: the stage is not pushed" in a.said[0]
    assert objects(share) == set()


def test_data_is_left_to_dvc(machine, share):
    a = machine("a")
    with a.store.run("data", PARTS, a.said.append) as partial:
        (partial.directory / "card.json").write_text("{}")
    a.exchange.push("data", KEY, None, a.said.append)
    assert objects(share) == set() and a.said == []
    assert a.exchange.pull("data", KEY, a.root / "x", a.said.append) is None


def test_ledger_entries_are_single_objects_each_sent_once(machine, share):
    a, b = machine("a"), machine("b")
    a.stage()
    a.finish()
    b.stage()
    b.finish(run_id="r-b")
    first = {p.name: json.loads(p.read_text()) for p in (share / "ledger").iterdir()}
    assert len(first) == 2  # of one host and one number: the hash tells the stores apart
    assert {e["sha256"] for e in first.values()} == {e.sha256 for m in (a, b) for e in m.store.ledger.entries()}
    for path in (share / "ledger").iterdir():
        path.unlink()
    a.store.ledger.append("run", {})
    a.finish(run_id="r-2")
    (second,) = (share / "ledger").iterdir()
    assert json.loads(second.read_text())["number"] == 2


def test_the_record_of_who_ran_the_stages_stays(machine, share):
    a, b, c = machine("a"), machine("b"), machine("c")
    a.finish(patch="diff of a")
    b.finish(patch="diff of b")
    assert read_json(share / "runs" / "r-1" / "run.json")["by"] == "a"
    assert (share / "runs" / "r-1" / "uncommitted.patch").read_text() == "diff of a"
    c.finish(key="trained anew")
    assert read_json(share / "runs" / "r-1" / "run.json")["by"] == "c"
