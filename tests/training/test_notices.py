"""Signals: the first one finishes the step, saves and leaves; the second one aborts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.training import journal
from components.training.checkpoint import Checkpoints, verify
from components.training.jobs import JOBS
from components.training.notices import Notice, Told, graceful
from components.training.session import LocalSession
from tests.processes import until
from tests.training import systems
from tests.training.test_loop import assert_same_weights

ROOT = Path(__file__).parents[2]
LAUNCHERS = {
    "alone": [sys.executable, "-m", "components.training"],
    "torchrun": [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "components.training"],
}


@pytest.fixture(scope="module")
def letter(plain, data) -> Callable[[Path], dict[str, Any]]:
    """A job of 240 steps, some seconds, of LeNet-5 on 32 x 32 images, for a folder."""
    spec = plain("trainer.duration=240st", "trainer.checkpoint_every=1000st", "optimizer.lr=0.01")
    spec["augment"]["always"].append({"_target_": "components.data.transforms.Resize", "size": 32})
    return lambda folder: {"job": "train", "config": {"spec": spec, "data": str(data), "directory": str(folder / "run")}}


@pytest.fixture(scope="module")
def whole(letter, group, tmp_path_factory) -> Path:
    """The folder of that job, never interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    group.run(1, train, letter(folder)["config"])  # not here: another number of threads moves the last digits
    return folder


def train(session: LocalSession, config: dict[str, Any]) -> None:
    JOBS["train"](session, config)


def start(launcher: str, letter: dict[str, Any], folder: Path) -> subprocess.Popen[str]:
    (folder / "job.json").write_text(json.dumps(letter))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [*LAUNCHERS[launcher], str(folder / "job.json")]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def wait_for_step(folder: Path, step: int) -> None:
    assert until(lambda: any(r["step"] >= step for r in journal.read(folder / "run" / "metrics.jsonl")))


@pytest.mark.parametrize(("launcher", "number"), [("alone", signal.SIGINT), ("torchrun", signal.SIGTERM)])
def test_a_signal_saves_the_step_it_came_in_and_the_same_command_goes_on(letter, whole, tmp_path, launcher, number):
    process = start(launcher, letter(tmp_path), tmp_path)
    wait_for_step(tmp_path, 20)
    process.send_signal(number)
    _, errors = process.communicate(timeout=100)
    latest = Checkpoints(tmp_path / "run" / "checkpoints").path("latest")
    meta = verify(latest)
    assert 20 <= meta["step"] < 240  # none but the last would be saved
    assert journal.read(tmp_path / "run" / "metrics.jsonl")[-1]["step"] == meta["step"]  # log_every_steps is 1
    assert f"interrupted after step {meta['step']} of 240, which is saved; the same command goes on" in errors
    if launcher == "alone":
        assert process.returncode == 130 and "Traceback" not in errors
    again = start(launcher, letter(tmp_path), tmp_path)
    assert again.wait(timeout=200) == 0
    again.stderr.close()
    assert [r["step"] for r in journal.read(tmp_path / "run" / "metrics.jsonl") if r.get("name") == "start"] == [0, meta["step"]]
    folders = [folder / "run" / "checkpoints" / "step_00000240" for folder in (tmp_path, whole)]
    assert_same_weights(*(systems.weights_of(d / "model.safetensors") for d in folders), 0.0 if launcher == "alone" else 1e-4)


def test_the_first_signal_is_told_and_the_second_aborts(capsys):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with graceful() as told:
        assert told.notice is Notice.NONE
        os.kill(os.getpid(), signal.SIGTERM)
        assert until(lambda: told.notice is Notice.STOP)
        assert "once more aborts" in capsys.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            until(lambda: False)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_off_the_main_thread_signals_are_left_alone():
    handlers = []

    def work() -> None:
        with graceful():
            handlers.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGTERM)]


def test_a_notice_to_one_rank_stops_all_at_the_same_step(group, plain, data, tmp_path):
    """Rank 1 of 3 hears of it in its fifth step."""
    found = group.run(3, systems.stopped_by_one_rank, plain(), data, tmp_path)
    assert found == ["interrupted after step 5 of 24, which is saved"] * 3
    assert verify(Checkpoints(tmp_path / "checkpoints").path("latest"))["step"] == 5


def test_a_notice_to_save_saves_once_and_goes_on(plain, data, tmp_path):
    """A node that will be taken away: Ray restarts the group elsewhere, from what was saved just before."""
    saved = systems.saved_steps(LocalSession(told=Told()), plain(), data, tmp_path)
    assert saved == [5, 6, 12, 18, 24]  # step 5 was asked for; the rest are ends of epochs
