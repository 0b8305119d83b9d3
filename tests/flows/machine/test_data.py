"""What slows or stops DVC."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from flows.machine import data
from tests.flows.machine.conftest import as_nobody, one


def test_a_set_of_many_small_files(machine, monkeypatch):
    monkeypatch.setattr(data, "_MANY_FILES", 300)
    monkeypatch.setattr(data, "_WEIGHED", 10)
    for number in range(300):
        path = machine.root / "data/raw/pictures" / str(number % 3) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(600))
    (machine.root / "data/prepared/pictures").mkdir(parents=True)
    assert one(data.small_files(machine), "warn").found == "data/raw/pictures has 300 or more of 600 bytes"
    for path in (machine.root / "data/raw/pictures").rglob("*.png"):
        os.truncate(path, 1 << 20)
    assert one(data.small_files(machine), "ok").found == "2 sets, none of many small files"


def locked(machine, pid):
    path = machine.root / ".dvc/tmp/rwlock"
    path.parent.mkdir(exist_ok=True)
    info = {"pid": pid, "cmd": "dvc repro prepare@digits"}
    path.write_text(json.dumps({"write": {"/p/data/prepared/digits": info}, "read": {"/p/data/raw/digits": [info], "/p/x": []}}))
    return path


def test_a_live_lock_is_told_and_a_dead_one_is_dvc_s_to_remove(machine):
    assert one(data.locks(machine), "ok").found == "none"
    locked(machine, os.getpid())
    assert one(data.locks(machine), "warn").found == f"process {os.getpid()} is at work: dvc repro prepare@digits"
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    locked(machine, gone.pid)
    assert one(data.locks(machine), "ok").found == "1 of processes that are gone, which DVC removes"


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"write": {"x": {"cmd": "no pid"}}}'])
def test_a_file_of_locks_that_dvc_would_refuse(machine, text):
    path = locked(machine, 1)
    path.write_text(text)
    assert one(data.locks(machine), "fail").mend == f"rm {path}"


def test_lock_files_of_another_user(machine, open_folder):
    path = open_folder / ".dvc/tmp/lock"
    path.parent.mkdir(parents=True)
    path.touch(mode=0o444)
    with as_nobody():
        finding = one(data.lock_files(replace(machine, root=open_folder)), "fail")
    assert finding.found == "may not be written by you: lock"
    path.chmod(0o666)
    with as_nobody():
        one(data.lock_files(replace(machine, root=open_folder)), "ok")


def test_telemetry_is_off_by_the_nearest_file_or_the_variable(machine, having):
    one(data.analytics(machine), "ok")  # the project's own .dvc/config
    (machine.root / ".dvc/config.local").write_text("[core]\n    analytics = true\n")
    one(data.analytics(machine), "warn")
    one(data.analytics(having(DVC_NO_ANALYTICS="1")), "ok")
    for name in ("config", "config.local"):
        (machine.root / ".dvc" / name).unlink()
    one(data.analytics(machine), "warn")
    (machine.home / ".config/dvc").mkdir(parents=True)
    (machine.home / ".config/dvc/config").write_text("[core]\nanalytics = False\n")
    one(data.analytics(machine), "ok")
