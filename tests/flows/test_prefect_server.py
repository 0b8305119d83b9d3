"""A real Prefect server: the deployment of prefect.yaml, served by a worker, triggered through the API; and the command line against it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from flows.processes import end_group
from tests.processes import until

FAST = ["cluster=inline", "debug=fast", "tracking=disabled"]
PREFECT = str(Path(sys.executable).parent / "prefect")


def wait_until(condition, seconds, what):
    found = until(condition, seconds, pause_seconds=0.5)
    assert found, f"{what} did not happen within {seconds} s"
    return found


class Server:
    """A Prefect server on a free loopback port, with its API as a function."""

    def __init__(self, workspace):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/api"
        self.root = workspace.root
        self.env = {**workspace.env, "PREFECT_API_URL": self.url, "MODELYARD_PROJECT": str(workspace.root), "DO_NOT_TRACK": "1"}
        self.env["PREFECT_HOME"] = str(workspace.root.parent / "prefect-server")  # a database without the flow runs of other tests
        self.env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{self.env['PATH']}"
        self.process = self.start("server", "start", "--host", "127.0.0.1", "--port", str(port))
        wait_until(self.healthy, 200, "the server's start")

    def start(self, *command):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen([PREFECT, *command], cwd=self.root, env=self.env, start_new_session=True, **quiet)

    def command(self, *command):
        done = subprocess.run([PREFECT, *command], cwd=self.root, env=self.env, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def healthy(self):
        try:
            return self.ask("health") is True
        except OSError:
            return False

    def ask(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/{path}", data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    def has_pool(self):
        try:
            return self.ask("work_pools/modelyard")["name"] == "modelyard"
        except OSError:
            return False

    def flow_run(self, identifier):
        return self.ask(f"flow_runs/{identifier}")


@pytest.fixture(scope="module")
def workspace(make_workspace):
    return make_workspace()


@pytest.fixture(scope="module")
def server(workspace):
    server = Server(workspace)
    yield server
    end_group(server.process, signal.SIGINT, 10)


@pytest.fixture(scope="module")
def triggered(server):
    """A flow run, asked for through the API and run by a worker."""
    worker = server.start("worker", "start", "--pool", "modelyard", "--type", "process")  # makes the pool
    try:
        wait_until(server.has_pool, 200, "the work pool")
        server.command("--no-prompt", "deploy", "--all")
        deployment = server.ask("deployments/name/pipeline/on-demand")
        asked = server.ask(f"deployments/{deployment['id']}/create_flow_run", {"parameters": {"overrides": FAST}})
        ended = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
        wait_until(lambda: server.flow_run(asked["id"])["state_type"] in ended, 200, "the flow run's end")
        yield server.flow_run(asked["id"])
    finally:
        end_group(worker, signal.SIGINT, 15)


def test_a_deployed_run_completes(triggered, workspace):
    assert triggered["state_type"] == "COMPLETED", triggered["state"]
    (record,) = (workspace.root / "store" / "runs").glob("*/run.json")
    run = json.loads(record.read_text())
    assert run["status"] == "finished" and {s["status"] for s in run["stages"].values()} == {"ran"}


def test_its_tasks_and_artifacts_are_on_the_server(server, triggered):
    of_this_run = {"flow_runs": {"id": {"any_": [triggered["id"]]}}}
    tasks = {t["name"].rpartition("-")[0] for t in server.ask("task_runs/filter", of_this_run)}
    assert tasks == {"data", "check", "train", "evaluate", "report"}
    artifacts = {a["type"]: a for a in server.ask("artifacts/filter", of_this_run)}
    assert set(artifacts) >= {"markdown", "table"}
    assert "accuracy" in artifacts["markdown"]["data"] + str(artifacts["table"]["data"])


def test_its_logs_are_on_the_server(server, triggered):
    def lines():
        found = server.ask("logs/filter", {"logs": {"flow_run_id": {"any_": [triggered["id"]]}}, "limit": 200})
        return [log["message"] for log in found if log["message"].startswith("train: ran")]

    assert wait_until(lines, 100, "the log line of the train stage")


def test_the_command_line_uses_the_server(server, triggered, workspace):
    """A second run through the same server: the unchanged stages are reused, one is new."""
    result = workspace.result("run", *FAST, "evaluate.batch_size=128", PREFECT_API_URL=server.url)
    assert result["stages"]["data"]["status"] == "reused" and result["stages"]["evaluate"]["status"] == "ran"
    runs = server.ask("flow_runs/filter", {"sort": "START_TIME_DESC"})
    assert len(runs) == 2 and {r["state_type"] for r in runs} == {"COMPLETED"}
