"""All checks together: a sound machine is quiet, nothing heavy is imported, and what is wrong comes as the doctor's rows."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from flows.examine import doctor_text
from flows.machine import look as table
from flows.machine.look import look
from flows.machine.machine import found_size
from tests.flows.machine.conftest import ROOT, rows_of


def test_a_sound_machine_is_quiet_and_stays_as_it_was(machine):
    before = sorted(machine.root.parent.rglob("*"))
    started = time.process_time()  # not the clock: the tests' machine may be busy
    result = look(machine)
    assert time.process_time() - started < 1.0
    loud = [row for row in result["checks"] if row["status"] not in ("ok", "skipped") and not row["name"].startswith("room")]
    assert loud == [] and result["failed"] == 0
    assert {row["mend"] for row in result["checks"] if row["status"] == "ok"} == {""}
    assert sorted(machine.root.parent.rglob("*")) == before


def test_the_real_machine_is_looked_at_without_heavy_imports():
    code = (
        "import sys, json; from flows.machine.look import look; from flows.machine.machine import this_machine; r = look(this_machine());"
        "print(json.dumps([r['failed'], sorted({'torch', 'ray', 'prefect', 'dvc', 'hydra', 'wandb', 'numpy'} & set(sys.modules)), len(r['checks'])]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    _, heavy, rows = json.loads(done.stdout)
    assert heavy == [] and rows >= len(table.CHECKS)


def test_a_fault_fails_with_its_reason_and_its_mend(having):
    result = look(having(WANDB_API_KEY="hunter2-hunter2", PREFECT_HOME="/proc/nowhere"))
    rows = rows_of(result)
    assert result["failed"] == 2 and rows["W&B key"]["status"] == rows["PREFECT_HOME writable"]["status"] == "fail"
    assert rows["W&B key"]["found"] == "WANDB_API_KEY is not a W&B key (15 characters)"
    assert set(rows["W&B key"]) == {"check", "name", "status", "found", "expected", "mend", "seconds"}
    text = doctor_text(result)
    assert "hunter2" not in text and "to mend:  export PREFECT_HOME=" in text


def test_a_check_that_breaks_says_so_and_the_others_go_on(machine, monkeypatch):
    def broken(machine):
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(table, "CHECKS", (("x", "broken", broken), *table.CHECKS[:1]))
    first, second = look(machine)["checks"]
    assert (first["status"], first["found"]) == ("fail", "ZeroDivisionError: by zero") and second["status"] == "ok"


def test_folders_are_those_of_the_environment(machine):
    plain = replace(machine, environment={"HOME": "/home/x"})
    assert (plain.prefect_home, plain.temporary, plain.ray_temporary) == (Path("/home/x/.prefect"), Path("/tmp"), Path("/tmp/ray"))
    moved = replace(machine, environment={"TMPDIR": "/scratch", "PREFECT_HOME": "/p"})
    assert (moved.prefect_home, moved.temporary, moved.ray_temporary) == (Path("/p"), Path("/scratch"), Path("/scratch/ray"))


def test_sizes():
    assert [found_size(n) for n in (600, 2048, 3 << 20, 5 << 30)] == ["600 bytes", "2 KiB", "3 MiB", "5 GiB"]
