"""gc: what is kept and why, what goes, and that a kill or a run beside it does no harm."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from components.errors import UserError
from components.files import digest, read_json, write_json
from flows.exclusive import exclusive
from flows.housekeeping.gc import collect_garbage, garbage_text, survey
from flows.housekeeping.keeping import Kept, keeping
from flows.housekeeping.living import Living
from flows.housekeeping.removal import Item, Remover
from flows.in_use import InUse, present_runs
from flows.lease import write_holder
from flows.processes import MARK
from flows.registry.promotion import rollback
from flows.registry.versions import Registry
from flows.runs import pin
from flows.store import Store
from tests.crash import crashes
from tests.flows.registry.made import make_champion
from tests.flows.stores import add_run, add_stage, dead_lease, lease_elsewhere
from tests.processes import spawn

ROOT = Path(__file__).parents[2]


def gc(store: Store, keep: int = 3, remove: bool = False) -> dict:
    return collect_garbage(ROOT, store, keep, remove=remove, announce=print)


def keep(store: Store, newest: int) -> Kept:
    return keeping(ROOT, store, newest, Living(store.root))


def items(found: dict, kind: str) -> set[str]:
    return {item["path"] for item in found["items"] if item["kind"] == kind}


@pytest.fixture(scope="module")
def seven(tmp_path_factory):
    """Seven finished runs that share their data stage; the third is the best, the last has other data and a better figure."""
    store = Store(tmp_path_factory.mktemp("store"))
    data = add_stage(store, "data", "digits")
    keys = []
    for number, accuracy in enumerate((0.90, 0.91, 0.98, 0.93, 0.94, 0.95, 0.99)):
        keys.append(add_stage(store, "train", number, checkpoint_sha256=f"sha of {number}"))
        more = {"checkpoint_sha256": f"sha of {number}", "data": "mnist" if number == 6 else "digits"}
        add_run(store, f"r{number}", {"data": data, "train": keys[-1]}, accuracy, **more)
    return store, data, keys


def test_the_newest_and_the_best_are_kept_with_what_they_share(seven):
    store, _, keys = seven
    found = gc(store, keep=2)
    assert found["kept"] == {
        "cnn-lenet5-r2": "the best of its experiment",  # as `modelyard list` judges: on the experiment's own data
        "cnn-lenet5-r5": "among the newest 2 of its experiment",
        "cnn-lenet5-r6": "among the newest 2 of its experiment",
    }
    assert items(found, "stage") == {f"stages/train/{keys[n]}" for n in (0, 1, 3, 4)}
    sizes = [sum(p.stat().st_size for p in (store.root / "stages" / "train" / keys[n]).iterdir()) for n in (0, 1, 3, 4)]
    assert found["bytes"] == sum(sizes) and min(sizes) > 1000
    assert (store.root / "stages" / "train" / keys[0]).is_dir()  # shown, not done
    assert f"stages/train/{keys[0]}" in garbage_text(found) and "gc --yes" in garbage_text(found) and "dvc gc" in garbage_text(found)


def test_the_ledger_s_order_counts_not_the_clock_s(seven):
    store, _, _ = seven
    path = store.root / "runs" / "cnn-lenet5-r5" / "run.json"
    before = read_json(path)
    write_json(path, {**before, "started": "1999-12-31T00:00:00+00:00"})
    try:
        assert "cnn-lenet5-r5" in keep(store, 2).runs
    finally:
        write_json(path, before)


def test_pinned_champions_and_the_last_run_are_kept(tmp_path):
    store = Store(tmp_path)
    keys = {n: add_stage(store, "train", n, checkpoint_sha256=f"sha of {n}") for n in range(8)}
    for n in range(7):  # 7 has no run any more
        add_run(store, f"r{n}", {"train": keys[n]}, accuracy=1.0 if n == 6 else 0.5, checkpoint_sha256=f"sha of {n}")
    pin(store, "cnn-lenet5-r0", pinned=True)
    pin(store, "cnn-lenet5-r1", pinned=True)
    pin(store, "cnn-lenet5-r1", pinned=False)
    for name, body in (("a", {"run_id": "cnn-lenet5-r1"}), ("a", {"run_id": "cnn-lenet5-r2"}), ("b", {"checkpoint_sha256": "sha of 3"})):
        store.ledger.append("alias", {"alias": name, **body})
    store.ledger.append("alias", {"alias": "c", "checkpoint_sha256": "sha of 7"})
    write_json(store.root / "last" / "run.json", {"run_id": "cnn-lenet5-r4"})
    found = gc(store, keep=0, remove=True)
    assert {run_id[-2:]: why for run_id, why in found["kept"].items()} == {
        "r0": "pinned", "r2": "champion a", "r3": "champion b", "r4": "the last run", "r6": "the best of its experiment",
    }  # fmt: skip
    assert {p.name for p in (store.root / "stages" / "train").iterdir()} == {keys[n] for n in (0, 2, 3, 4, 6, 7)}
    assert [(e.kind, e.body) for e in store.ledger.entries() if e.kind in ("pinned", "unpinned", "removed")] == [
        ("pinned", {"run_id": "cnn-lenet5-r0"}),
        ("pinned", {"run_id": "cnn-lenet5-r1"}),
        ("unpinned", {"run_id": "cnn-lenet5-r1"}),
        *(("removed", {"stage": "train", "key": key}) for key in sorted([keys[1], keys[5]])),
    ]


def test_what_a_rollback_may_lead_to_can_still_be_judged(tmp_path):
    """The trainings of every version stay, and go with the version's directory. The second run is neither the best nor the newest, nor a champion."""
    store = Store(tmp_path)
    for name in ("one", "two", "three"):
        make_champion(store, name)
    second = Registry(store).version("digits", 2)
    found = gc(store, keep=0, remove=True)
    assert second.run_id not in found["kept"] and {item["kind"] for item in found["items"]} == {"stage"}  # its check and evaluation
    assert rollback(store, "digits", None, "three sees ghosts") == second
    assert second.trainings == {"train": second.stages["train"]} and store.read("train", second.stages["train"]) is not None
    rollback(store, "digits", None, "so does two")
    shutil.rmtree(second.directory)
    gc(store, keep=0, remove=True)
    assert store.read("train", second.stages["train"]) is None


def test_what_another_run_builds_on_or_goes_on_from_is_kept(tmp_path):
    store = Store(tmp_path)
    teacher, first, second = (add_stage(store, "train", n) for n in ("teacher", "first", "second"))
    resume = {"data": {"name": "digits"}, "expect": [], "resume": {"checkpoint": f"store/stages/train/{first}/checkpoints/latest"}}
    add_run(store, "teacher", {"train": teacher}, status="trained")
    add_run(store, "pupil", {"train": second}, upstream={"teacher": teacher}, spec=resume)
    assert set(keep(store, 1).stages) == {("train", teacher), ("train", first), ("train", second)}
    (store.root / "runs" / "cnn-lenet5-pupil" / "run.json").unlink()
    assert keep(store, 1).stages == {}


def test_half_done_work_goes_unless_somebody_works_on_it_or_can_go_on_with_it(tmp_path):
    store = Store(tmp_path)
    keys = {name: digest(name) for name in ("nobody", "here", "elsewhere", "dead", "silent", "resumable", "old")}
    for key in keys.values():
        (store.root / "stages" / "train" / f"{key}.partial").mkdir(parents=True)
    dead_lease(store.lease("train", keys["dead"]))
    lease_elsewhere(store.lease("train", keys["silent"]))
    lease_elsewhere(store.root / "running" / "cnn-lenet5-9-ab.json", run_id="cnn-lenet5-9", stages=[["train", keys["silent"]]])
    for name in ("old", "resumable"):  # two attempts that were killed; the next one takes up the newest
        folder = add_run(store, name, {}, status="running")
        write_json(folder / "decisions.json", {"stages": {"train": {"key": keys[name], "status": "running"}}})
    beating = threading.Event()

    def beat() -> None:
        for number in itertools.count():
            lease_elsewhere(store.lease("train", keys["elsewhere"]), number)
            if beating.wait(0.1):
                return

    thread = threading.Thread(target=beat)
    thread.start()
    use = InUse(store.root, "cnn-lenet5-now", {})
    use.name(("train", keys["here"]))
    try:
        living = Living(store.root)
        living.watch(print, seconds=4.0)
        remover = Remover(store, living, lambda: keeping(ROOT, store, 3, living))
        gone, left = remover.remove(survey(store, remover.kept(), living))
    finally:
        use.close()
        beating.set()
        thread.join()
    assert not left and {i.path.name for i in gone if i.kind == "partial"} == {f"{keys[n]}.partial" for n in ("nobody", "dead", "silent", "old")}
    assert {i.path.name for i in gone if i.kind == "lease"} == {
        "cnn-lenet5-9-ab.json", *(store.lease("train", keys[n]).name for n in ("dead", "silent")),
    }  # fmt: skip


def test_what_a_dead_attempt_left_running_is_ended_before_its_directory_goes(tmp_path):
    store, key = Store(tmp_path), digest("killed")
    (store.root / "stages" / "train" / f"{key}.partial").mkdir(parents=True)
    dead_lease(store.lease("train", key))
    orphan = spawn(["sleep", "300"], env={**os.environ, MARK: "dead"}, start_new_session=True)
    assert psutil.pid_exists(orphan.pid)
    gc(store, remove=True)
    assert orphan.wait(100) == -signal.SIGKILL
    assert not list(store.root.glob("leases/*.json")) and not list(store.root.glob("stages/train/*"))


def test_what_else_the_dead_leave(tmp_path):
    store = Store(tmp_path)
    damaged = store.root / "stages" / "train" / f"{digest(1)}.damaged-17"
    damaged.mkdir(parents=True)
    dead_lease(store.root / "running" / "cnn-lenet5-1-ab.json", run_id="cnn-lenet5-1", stages=[])
    write_json(store.root / "mailboxes" / "dead" / "driver.json", read_json(store.root / "running" / "cnn-lenet5-1-ab.json"))
    driver = read_json(store.root / "mailboxes" / "dead" / "driver.json")
    write_json(store.root / "mailboxes" / "dead" / "driver.json", {k: driver[k] for k in ("token", "place", "host", "pid", "started")})
    write_holder(store.root / "mailboxes" / "alive" / "driver.json")
    old, new = store.root / "last" / ".tmp-1-run.json", store.root / "last" / ".tmp-2-run.json"
    old.parent.mkdir()
    for path in (old, new):
        path.write_text("{")
    os.utime(old, (time.time() - 7200, time.time() - 7200))
    aside = store.root / "stages" / "train" / f".{digest(2)}.removed-5"  # of a gc that was killed
    aside.mkdir()
    found = gc(store, remove=True)
    assert {(item["kind"], item["path"]) for item in found["items"]} == {
        ("damaged", f"stages/train/{damaged.name}"), ("lease", "running/cnn-lenet5-1-ab.json"), ("mailbox", "mailboxes/dead"),
        ("temporary", "last/.tmp-1-run.json"), ("removed", f"stages/train/{aside.name}"),
    }  # fmt: skip
    assert not any(p.exists() for p in (damaged, aside, old, store.root / "mailboxes" / "dead", store.root / "running" / "cnn-lenet5-1-ab.json"))
    assert new.exists() and (store.root / "mailboxes" / "alive").is_dir()
    assert gc(store)["items"] == [] and "nothing to free" in garbage_text(gc(store))


def test_keep_is_a_number_of_runs(tmp_path):
    with pytest.raises(UserError, match="--keep"):
        gc(Store(tmp_path), keep=-1)


def remove_all(root: Path, but: tuple[str, str]) -> None:
    """Remove every stage of a store but one, without the question which runs are kept."""
    store = Store(root)
    remover = Remover(store, Living(root), lambda: Kept({}, {but: "kept"}))
    remover.remove(survey(store, remover.kept(), Living(root)))


def test_killed_at_any_step_the_next_gc_ends_it_and_the_ledger_says_each_once(tmp_path):
    keys: dict[int, list[str]] = {}

    def build(n: int) -> None:
        store = Store(tmp_path / str(n))
        keys[n] = [add_stage(store, "train", made) for made in ("goes", "stays")]
        (store.root / "stages" / "train" / f"{digest(1)}.partial").mkdir()

    def act(n: int) -> None:
        remove_all(tmp_path / str(n), ("train", keys[n][1]))

    build(1)
    begun = 0
    for n in crashes(act):
        build(n + 1)
        store = Store(tmp_path / str(n))
        begun += any(e.kind == "removed" for e in store.ledger.entries())
        act(n)
        assert [p.name for p in (store.root / "stages" / "train").iterdir()] == [keys[n][1]]
        assert store.find("train", {"stage": "train", "made_from": "stays"}) is not None
        assert [e.body for e in store.ledger.entries() if e.kind == "removed"] == [{"stage": "train", "key": keys[n][0]}]
        assert store.ledger.complaints() == []
    assert begun > 3


def test_a_stage_that_is_used_again_after_a_removal_was_cut_short_is_in_the_ledger_as_there(tmp_path):
    store = Store(tmp_path)
    key = add_stage(store, "train", 1)
    store.enter_removal("train", key)  # and killed
    add_stage(store, "train", 1)
    add_stage(store, "train", 1)
    assert [e.kind for e in store.ledger.entries()] == ["stage", "removed", "stage"]
    folder = store.root / "stages" / "train" / key
    write_json(folder / "ledger.json", {**read_json(folder / "ledger.json"), "removing": store.ledger.size()})  # killed before the entry
    add_stage(store, "train", 1)
    assert [e.kind for e in store.ledger.entries()] == ["stage", "removed", "stage"]
    assert set(read_json(folder / "ledger.json")) == {"of", "number", "sha256"}


def test_a_run_that_begins_between_the_look_and_the_removal_keeps_its_stage(tmp_path):
    store = Store(tmp_path)
    key = add_stage(store, "train", 1)
    item = Item("stage", store.root / "stages" / "train" / key, 1000, "not needed", ("train", key))
    use = InUse(store.root, "cnn-lenet5-now", {})
    use.name(("train", key))
    assert present_runs(store.root) == {"cnn-lenet5-now"}
    _, left = Remover(store, Living(store.root), lambda: Kept({}, {})).remove([item])
    assert [why for _, why in left] == ["cnn-lenet5-now has begun to use it"]
    use.close()
    assert present_runs(store.root) == set()

    remover = Remover(store, Living(store.root), lambda: keep(store, 3))
    assert remover.kept().stages == {}
    add_run(store, "ended", {"train": key})  # begun and ended since
    write_json(store.root / "last" / "run.json", {"run_id": "cnn-lenet5-ended"})
    _, left = remover.remove([item])
    assert [why for _, why in left] == ["cnn-lenet5-ended is the best of its experiment"]


def test_a_name_given_while_a_stage_is_being_removed_waits_and_then_finds_it_gone(tmp_path):
    store = Store(tmp_path)
    add_stage(store, "train", 1)
    use, found = InUse(store.root, "cnn-lenet5-now", {}), []

    def begin() -> None:
        use.name(("train", digest({"stage": "train", "made_from": 1})))
        found.append(store.find("train", {"stage": "train", "made_from": 1}))

    other = threading.Thread(target=begin)
    with exclusive(store.root / "running" / ".lock"):
        other.start()
        time.sleep(0.2)
        assert found == []
        for path in (store.root / "stages" / "train").iterdir():
            path.rename(path.with_name(".aside"))
    other.join(100)
    use.close()
    assert found == [None]


def test_runs_and_gc_on_one_store_at_once(tmp_path):
    """A run names a stage, looks for it, makes it where it is not, and reads it; gc, beside it, removes all that is not named."""
    code = f"""
import sys
from pathlib import Path
from components.files import digest
from flows.in_use import InUse
from flows.store import Store
from tests.flows.stores import add_stage
store, made = Store(Path({str(tmp_path)!r})), 0
while made < 6:
    use = InUse(store.root, sys.argv[1], {{}})
    for number in range(3):
        parts = {{"stage": "train", "made_from": number}}
        use.name(("train", digest(parts)))
        made += store.find("train", parts) is None
        add_stage(store, "train", number)
        assert (store.find("train", parts).directory / "output.bin").stat().st_size == 1000
    use.close()
print(made)
"""
    users = [subprocess.Popen([sys.executable, "-c", code, f"run-{n}"], cwd=ROOT, stdout=subprocess.PIPE, text=True) for n in range(2)]
    while any(user.poll() is None for user in users):
        remove_all(tmp_path, ("train", "none"))
    assert all(int(user.communicate()[0].splitlines()[-1]) >= 6 for user in users)  # the lines before say who waits for whom
    assert [user.returncode for user in users] == [0, 0]
    store = Store(tmp_path)
    assert store.ledger.complaints() == []
    remove_all(tmp_path, ("train", "none"))
    kinds = [e.kind for e in store.ledger.entries()]
    assert kinds.count("removed") == kinds.count("stage") > 3  # every stage that was made is gone, and said to be
