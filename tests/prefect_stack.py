"""A real Prefect server and worker in a workspace, as an operator runs them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from tests.processes import until

PREFECT = str(Path(sys.executable).parent / "prefect")
ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


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
        self.env["PREFECT_WORKER_QUERY_SECONDS"] = "2"  # not 15: the tests would wait for its next look
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

    def ask(self, path, body=None, method=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/{path}", data, {"Content-Type": "application/json"}, method=method)

        def answered():
            try:
                with urllib.request.urlopen(request, timeout=20) as answer:
                    return [json.loads(answer.read() or "null")]
            except urllib.error.HTTPError as error:
                if error.code != 503:
                    raise
                return None  # its database is locked by somebody else's write: Prefect's own client asks again, too

        return wait_until(answered, 60, f"an answer to {path}")[0]

    def has_pool(self):
        try:
            return self.ask("work_pools/modelyard")["name"] == "modelyard"
        except OSError:
            return False

    def flow_run(self, identifier):
        return self.ask(f"flow_runs/{identifier}")

    def going_on(self, flow):
        """The runs of a flow that have begun and not ended."""
        runs = self.ask("flow_runs/filter", {"flows": {"name": {"any_": [flow]}}})
        return [run for run in runs if run["state_type"] in {"PENDING", "RUNNING", "CANCELLING"}]

    def forget_schedules(self):
        """Remove every schedule, lest one fires while a test runs."""
        for deployment in self.ask("deployments/filter", {}):
            for schedule in deployment["schedules"]:
                self.ask(f"deployments/{deployment['id']}/schedules/{schedule['id']}", method="DELETE")

    def trigger(self, deployment, **parameters):
        """Ask for a run of a deployment; returns its id."""
        found = self.ask(f"deployments/name/{deployment}")
        return self.ask(f"deployments/{found['id']}/create_flow_run", {"parameters": parameters})["id"]

    def ended(self, identifier):
        """Wait for a flow run's end and return it."""
        wait_until(lambda: self.flow_run(identifier)["state_type"] in ENDED, 250, "the flow run's end")
        return self.flow_run(identifier)
