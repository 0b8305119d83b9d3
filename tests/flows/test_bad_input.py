"""A person's mistakes at the command line: a clear message, exit code 2, no traceback, nothing lost."""

from __future__ import annotations

import http.server
import json
import os
import socket
import subprocess
import threading
from pathlib import Path

import psutil
import pytest

INLINE = ("cluster=inline", "debug=fast", "tracking=disabled")


@pytest.fixture(scope="module")
def workspace(make_workspace):
    return make_workspace()


@pytest.fixture(scope="module")
def finished(workspace):
    """A finished run, which no mistake may harm."""
    return workspace.result("run", *INLINE)


def refuse(workspace, *command, **env):
    done = workspace.run(*command, **env)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    return done.stderr


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trainer.duraton=3ep"], "did you mean 'trainer.duration'"),
        (["data=fashion_mnits"], "did you mean 'fashion_mnist'"),
        (["experiment=cnn/lenet"], "did you mean 'cnn/lenet5'"),
        (["trainer.duration=many"], "trainer.duration is no length of training"),
        (["model._target_=os.system"], "model._target_ is not allowed"),
        (["cluster.workers=50"], "more workers than the cluster has"),
        (["cluster.workers=50", "cluster.min_workers=40"], "cluster.min_workers=40 with"),
        (["cluster=inline", "cluster.workers=2"], "does not fit cluster.backend=inline"),
        (["store=/proc/modelyard"], "the store cannot be written"),
        (["debug=fats"], "did you mean 'fast'"),
    ],
)
def test_a_mistake_in_the_command(workspace, overrides, message):
    assert message in refuse(workspace, "run", *overrides)


def test_json_tells_machines_too(workspace):
    done = workspace.run("run", "trainer.duraton=3ep", "--json")
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["exit_code"] == 2 and "trainer.duration" in told["error"]


def test_a_batch_larger_than_the_data(workspace, finished):
    text = refuse(workspace, "run", *INLINE, "trainer.batch_size=1259")
    assert "larger than the data" in text and "1258" in text


def test_a_monitor_that_nobody_reports(workspace, finished):
    text = refuse(workspace, "run", *INLINE, "trainer.monitor.metric=validation/acuracy")
    assert "validation/accuracy" in text  # the available names are listed


def test_a_mirror_without_the_file(workspace, tmp_path):
    dead = ("data=mnist", "data.fetch.base_url=http://127.0.0.1:9/")
    assert "mnist.zip" in refuse(workspace, "run", *INLINE, *dead, MODELYARD_DATA_MIRROR=str(tmp_path))


@pytest.mark.parametrize("harm", ["truncated", "tampered"])
def test_a_damaged_archive(workspace, mirror, tmp_path, harm):
    archive = tmp_path / "mnist.zip"
    content = bytearray(Path(mirror, "mnist.zip").read_bytes())
    if harm == "truncated":
        del content[len(content) // 2 :]
    else:
        content[1000] ^= 255
    archive.write_bytes(content)
    text = refuse(workspace, "run", *INLINE, "data=mnist", MODELYARD_DATA_MIRROR=str(tmp_path))
    assert "mnist.zip" in text and "sha256" in text
    assert not (workspace.root / "data" / "raw" / "mnist").exists()  # nothing unverified was published


def test_a_corrupted_shard_is_found_and_made_again(workspace, finished):
    directory = workspace.root / "data" / "prepared" / "digits"
    shard = next(directory.glob("train-*inputs*.npy"))
    content = bytearray(shard.read_bytes())
    content[-5] ^= 255
    shard.unlink()
    shard.write_bytes(content)
    mended = workspace.result("run", *INLINE)
    assert mended["stages"]["data"]["status"] == "ran"
    assert bytes(content) != shard.read_bytes()
    assert mended["stages"]["train"]["status"] == "reused"  # the same data version as before


def test_a_full_disk(workspace, tmp_path):
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)], capture_output=True).returncode:
        pytest.skip("needs to be root to mount a disk of one megabyte")
    try:
        assert "disk is nearly full" in refuse(workspace, "run", f"store={tmp_path}")
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_port_in_use(workspace):
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        assert str(port) in refuse(workspace, "run", f"cluster.dashboard_port={port}")


def test_what_answers_is_not_prefect(workspace):
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)  # knows no GET: 501
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/api"
    try:
        assert "not a Prefect server" in refuse(workspace, "run", PREFECT_API_URL=url)
    finally:
        server.shutdown()
        server.server_close()
    assert "no Prefect server answers" in refuse(workspace, "run", PREFECT_API_URL=url)


def test_a_broken_wandb_key_is_told_but_not_shown(workspace):
    text = refuse(workspace, "run", WANDB_API_KEY="hunter2")
    assert "WANDB_API_KEY" in text and "hunter2" not in text


def test_an_unreachable_wandb_neither_fails_nor_stalls_a_run(workspace, finished):
    """Online with a well-formed key, but the server is not there: the run ends well, and soon."""
    key = {"WANDB_API_KEY": "a" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9"}
    done = workspace.run("run", "cluster=inline", "debug=fast", "seed=7", "tracking.finish_timeout_seconds=5", **key)
    assert done.returncode == 0, done.stderr  # within the 240 s of `run`: W&B alone would try for days
    assert "a" * 40 not in done.stdout + done.stderr


def test_a_cluster_that_does_not_answer(workspace, finished):
    for address in ("127.0.0.1:9",) if raylets() else ("127.0.0.1:9", "auto"):
        overrides = (f"cluster.address={address}", "cluster.gpus_per_worker=0", "cluster.workers=1", "seed=9")
        done = workspace.run("run", "debug=fast", "cluster=ray", "tracking=disabled", *overrides)
        if address == "auto" and raylets():
            continue  # of another test, which has begun meanwhile
        assert done.returncode == 2 and "no Ray cluster answers" in done.stderr, done.stderr
        assert "Traceback" not in done.stderr + done.stdout


def raylets() -> list[psutil.Process]:
    """Ray's processes on this machine: another test's, which `auto` would find."""
    return [process for process in psutil.process_iter(["name"]) if "raylet" in (process.info["name"] or "")]


def test_nothing_was_lost(workspace, finished):
    again = workspace.result("run", *INLINE)
    assert {s["status"] for s in again["stages"].values()} == {"reused"}
    assert again["metrics"] == finished["metrics"]
