"""Leases: never beside a live attempt, after a dead one at once, after a silent one elsewhere in time."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import pytest

from components.errors import RunError
from components.files import read_json, write_json
from flows.lease import Lease, is_dead, runs_here, this_process, write_holder
from flows.processes import marked
from tests.processes import runs, until

ROOT = Path(__file__).parents[2]
HOLD = """
import sys, time
from pathlib import Path
from tests.processes import spawn
from flows.lease import Lease
with Lease(Path(sys.argv[1]), print):
    child = spawn(["sleep", "300"], start_new_session=True)
    print(child.pid, flush=True)
    time.sleep(300)
"""


def start_holder(path: Path) -> tuple[subprocess.Popen[str], psutil.Process]:
    """Start a process that holds a lease and has started another one, which leads a group of its own."""
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    return holder, psutil.Process(int(holder.stdout.readline()))


def test_a_lease_is_there_while_it_is_held_and_names_its_holder(tmp_path):
    path = tmp_path / "train-1234.json"
    with Lease(path, print) as lease:
        assert read_json(path)["pid"] == psutil.Process().pid
        lease.ownership.require()
    assert not path.exists()
    with pytest.raises(RunError, match="nobody's any more"):
        lease.ownership.require()


def test_a_live_holder_is_waited_for(tmp_path):
    path, said, order = tmp_path / "train-1234.json", [], []

    def second() -> None:
        with Lease(path, said.append):
            order.append("second")

    with Lease(path, print):
        other = threading.Thread(target=second)
        other.start()
        assert until(lambda: said)
        order.append("first")
    other.join(100)
    assert order == ["first", "second"]
    assert len(said) == 1 and "is running train-1234; waiting for it" in said[0]


def test_after_a_killed_holder_the_lease_is_taken_at_once_and_what_it_had_started_is_ended(tmp_path):
    path, said = tmp_path / "train-1234.json", []
    holder, child = start_holder(path)
    assert child in marked(read_json(path)["token"])
    holder.kill()
    holder.wait()
    assert child.is_running()  # a group of its own outlives it
    with Lease(path, said.append) as lease:
        assert not runs(child.pid)
        lease.ownership.require()
    assert said == []


def test_a_pid_that_was_given_again_is_not_its_former_owner():
    me = this_process()
    assert runs_here(me) is True
    assert runs_here(replace(me, started=me.started - 1)) is False
    assert runs_here(replace(me, place="another machine")) is None


def elsewhere(path: Path, beat: int) -> None:
    """What a process on another machine writes."""
    write_json(path, {**asdict(replace(this_process(), token="theirs", place="another machine", host="node-7")), "beat": beat})


class Clock:
    """Time that goes on when the test says so, and notes how often somebody has slept in it."""

    def __init__(self) -> None:
        self.now, self.slept = 0.0, 0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, _seconds: float) -> None:
        self.slept += 1
        time.sleep(0.001)

    def look(self) -> None:
        """Return when somebody has looked at what there is now, and sleeps."""
        before = self.slept
        assert until(lambda: self.slept >= before + 2)


def test_a_holder_elsewhere_is_waited_for_while_its_heart_beats_and_no_longer(tmp_path, monkeypatch):
    path, said, clock = tmp_path / "train-1234.json", [], Clock()
    monkeypatch.setattr("flows.lease.time", clock)
    elsewhere(path, 0)

    def second() -> None:
        with Lease(path, said.append, lost_seconds=60.0):
            pass

    waiting = threading.Thread(target=second)
    waiting.start()
    for beat in range(1, 6):  # 250 s in all, never silent for 60
        clock.look()
        clock.now += 50.0
        elsewhere(path, beat)
    clock.look()
    clock.now += 59.0
    clock.look()
    assert waiting.is_alive() and "on node-7 is running train-1234" in said[0]
    clock.now += 2.0
    waiting.join(100)
    assert not waiting.is_alive()


def test_an_unreadable_lease_counts_as_silent(tmp_path):
    path = tmp_path / "train-1234.json"
    path.write_text("{")
    with Lease(path, print, lost_seconds=0.2):
        assert read_json(path)["pid"] == psutil.Process().pid


def test_the_heart_beats_and_stops_when_another_has_taken_over(tmp_path, monkeypatch):
    monkeypatch.setattr("flows.lease.BEAT_SECONDS", 0.05)
    path = tmp_path / "train-1234.json"
    with Lease(path, print) as lease:
        assert until(lambda: read_json(path)["beat"] >= 2)
        elsewhere(path, 0)
        time.sleep(0.3)
        assert read_json(path)["token"] == "theirs"
        with pytest.raises(RunError, match=r"another attempt's \(theirs\)"):
            lease.ownership.require()
    assert read_json(path)["token"] == "theirs"  # and it is not ours to remove


def test_what_a_dead_process_wrote_down_as_its_own_is_known_for_it(tmp_path):
    write_holder(tmp_path / "mine.json")
    write_json(tmp_path / "dead.json", asdict(replace(this_process(), started=0)))
    write_json(tmp_path / "elsewhere.json", asdict(replace(this_process(), place="another machine")))
    assert [is_dead(tmp_path / f"{n}.json") for n in ("mine", "dead", "elsewhere", "absent")] == [False, True, False, False]


def test_a_command_is_ended_with_all_that_it_started_when_its_driver_is_killed(tmp_path):
    """DVC and the stage that it runs, in small: a guard, a shell, and the shell's child."""
    guarded = [sys.executable, "-m", "flows.guard", "sh", "-c", "sleep 300 & echo $!; wait"]
    driver = subprocess.Popen(
        [sys.executable, "-c", f"import subprocess; subprocess.run({guarded!r}, start_new_session=True)"],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    grandchild = psutil.Process(int(driver.stdout.readline()))
    driver.kill()
    assert until(lambda: not runs(grandchild.pid))


def test_a_guard_returns_the_exit_code_and_leaves_nothing_of_the_group():
    done = subprocess.run(
        [sys.executable, "-m", "flows.guard", "sh", "-c", "sleep 300 & echo $!; exit 7"],
        cwd=ROOT, capture_output=True, text=True, start_new_session=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 7
    assert until(lambda: not runs(int(done.stdout)))
