"""After a DVC that was killed while it wrote: its files are whole again, and nobody who lives is robbed."""

from __future__ import annotations

import json
import sys

import pytest
import yaml

from flows.adapters.dvc_remains import mend
from tests.processes import spawn

LOCK = yaml.safe_dump({"schema": "2.0", "stages": {f"fetch@{n}": {"cmd": "x", "outs": [{"path": f"data/raw/{n}", "md5": "0"}]} for n in "abcdef"}})


@pytest.fixture
def root(tmp_path):
    (tmp_path / ".dvc" / "tmp").mkdir(parents=True)
    (tmp_path / "dvc.lock").write_text(LOCK)
    return tmp_path


def rwlock(root, pid):
    path = root / ".dvc" / "tmp" / "rwlock"
    path.write_text(json.dumps({"read": {"/a": [{"pid": pid, "cmd": "dvc repro"}]}, "write": {"/b": {"pid": pid, "cmd": "dvc repro"}}}))
    return path


@pytest.mark.parametrize("length", [0, 40, LOCK.index("  fetch@d"), len(LOCK) // 2, len(LOCK) - 30])
def test_a_half_written_lock_is_put_back(root, length):
    kept = mend(root)
    (root / "dvc.lock").write_text(LOCK[:length])  # and there DVC was killed
    assert mend(root) == kept
    assert (root / "dvc.lock").read_text() == kept.read_text() == LOCK


def test_what_a_killed_dvc_left_half_cached_goes_and_what_a_running_one_writes_stays(root):
    half, whole = (root / ".dvc" / "cache" / "files" / "md5" / "cf" / name for name in ("97b7.dir.9MWm.tmp", "97b7.dir"))
    for path in (half, whole):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    mend(root)
    assert half.exists()  # nobody was killed: it is somebody's
    mend(root)  # the copy is still there: DVC did not end by itself
    assert not half.exists() and whole.exists()


def test_a_lock_that_was_written_to_its_end_stays(root):
    mend(root)
    more = {**yaml.safe_load(LOCK)["stages"], "prepare@a": {"cmd": "x", "outs": [{"path": "data/prepared/a", "md5": "1"}]}}
    (root / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": more}))
    mend(root)
    assert "prepare@a" in (root / "dvc.lock").read_text()


def test_the_locks_of_dead_processes_go_and_those_of_a_running_dvc_stay(root):
    with spawn([sys.executable, "-c", "import time; time.sleep(60)", "dvc", "repro"]) as running:
        path = rwlock(root, running.pid)
        mend(root)
        assert path.is_file()
        running.kill()
        running.wait()
        mend(root)
        assert not path.exists()
    path = rwlock(root, 1)  # a pid that was given again
    mend(root)
    assert not path.exists()
    path.write_text('{"read": {"/a": [{"pi')
    mend(root)
    assert not path.exists()
