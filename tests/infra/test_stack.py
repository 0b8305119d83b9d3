"""The local stack for real: up, what it brings, a part that dies and is mended, down, nothing left. Without Ray's head, which costs as much again."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from flows.processes import carrying
from infra.prefect.api import Api
from infra.prefect.automations import FILE, apply
from infra.stack.layout import MARK, Ports, Stack
from tests.conftest import copy_project
from tests.processes import until

pytestmark = pytest.mark.timeout(900)  # two starts of Prefect's commands: a minute, and several on a busy machine
NAMES = [automation["name"] for automation in yaml.safe_load(FILE.read_text())["automations"]]


class Runner:
    """`python -m infra.stack` in a copy of the project."""

    def __init__(self, workspace: Any) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.workspace, self.folder = workspace, workspace.root / ".stack"
        self.api = Api(f"http://127.0.0.1:{self.port}/api")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "infra.stack", *arguments]
        return subprocess.run(command, cwd=self.workspace.root, env=self.workspace.env, capture_output=True, text=True, timeout=800)

    def up(self) -> subprocess.CompletedProcess[str]:
        return self.run("up", "--no-ray", "--prefect-port", str(self.port))

    def pid(self, name: str) -> int:
        return int(json.loads((self.folder / f"{name}.json").read_text())["pid"])


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """A stack that is up, with what `up` said."""
    runner = Runner(copy_project(tmp_path_factory.mktemp("stack") / "project", {}))
    said = runner.up()
    try:
        assert said.returncode == 0, said.stderr
        yield runner, said
    finally:
        runner.run("down")


def test_up_brings_deployments_automations_and_the_exports(stack):
    runner, said = stack
    assert said.stdout == f"export PREFECT_API_URL=http://127.0.0.1:{runner.port}/api\n"
    declared = yaml.safe_load((runner.workspace.root / "prefect.yaml").read_text())["deployments"]
    found = runner.api.ask("POST", "deployments/filter", {})
    assert {d["name"] for d in found} == {d["name"] for d in declared} >= {"on-demand"}
    assert {d["work_pool_name"] for d in found} == {"modelyard"}
    (pull,) = found[0]["pull_steps"]
    assert pull["prefect.deployments.steps.set_working_directory"]["directory"] == str(runner.workspace.root)
    assert runner.api.ask("GET", "work_pools/modelyard")["type"] == "process"


def test_the_automations_are_there_once_however_often_they_are_brought(stack):
    runner, _ = stack
    first, second = list(apply(runner.api)), list(apply(runner.api))
    assert first == second and not any(line.endswith("created") for line in first)  # `up` brought them
    there = [automation["name"] for automation in runner.api.ask("POST", "automations/filter", {})]
    assert {name for name in there if name in NAMES} == set(NAMES) == {"modelyard-zombie-runs"} and len(there) == len(set(there))


def test_what_died_is_mended_and_what_runs_is_left_alone(stack):
    runner, _ = stack
    server, worker = runner.pid("server"), runner.pid("worker")
    psutil.Process(worker).kill()
    assert until(lambda: runner.run("status").returncode == 1)
    said = runner.up()
    assert said.returncode == 0, said.stderr
    assert f"server: runs already (pid {server})" in said.stderr and re.search(r"worker: starting \(pid \d+", said.stderr)
    assert runner.pid("server") == server and runner.pid("worker") != worker
    assert runner.run("status").returncode == 0


def test_another_stack_is_refused_in_its_folder_and_at_its_port(stack, tmp_path):
    runner, _ = stack
    other_port = runner.run("up", "--no-ray", "--prefect-port", "1")
    assert other_port.returncode == 2 and "a stack with other ports runs in this folder" in other_port.stderr
    other_folder = runner.run("up", "--no-ray", "--prefect-port", str(runner.port), "--folder", str(tmp_path / "other"))
    assert other_folder.returncode == 2 and "the port of server is taken" in other_folder.stderr


def test_down_leaves_no_process(stack):
    runner, _ = stack
    assert len(carrying(MARK, str(runner.folder))) >= 2
    said = runner.run("down")
    assert said.returncode == 0 and "nothing of the stack runs" in said.stderr, said.stderr
    assert carrying(MARK, str(runner.folder)) == []
    again = runner.run("down")
    assert again.returncode == 0, again.stderr


def test_the_token_is_for_its_owner_alone_and_never_shown(tmp_path):
    stack = Stack(tmp_path / "stack", tmp_path, Ports(4200, 6379, 8265))
    stack.prepare()
    token = stack.token.read_text()
    assert len(token) == 64 and stack.token.stat().st_mode & 0o777 == 0o600 and stack.folder.stat().st_mode & 0o777 == 0o700
    stack.prepare()
    assert stack.token.read_text() == token
    assert token not in str(stack.exports()) + str(stack.environment())
    assert stack.environment()["RAY_AUTH_MODE"] == "token" and Path(stack.environment()["RAY_AUTH_TOKEN_PATH"]) == stack.token


def test_the_servers_credentials_are_its_clients(tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", "user:word")
    monkeypatch.setenv("PREFECT_API_URL", "http://elsewhere/api")
    stack = Stack(tmp_path, tmp_path, Ports(4200, None, 8265))
    assert stack.environment()["PREFECT_API_AUTH_STRING"] == "user:word"
    assert stack.environment()["PREFECT_API_URL"] == stack.api_url
    monkeypatch.setenv("PREFECT_SERVER_DATABASE_CONNECTION_URL", "postgresql+asyncpg://...")
    server_alone = set(stack.server_environment()) - set(stack.environment())
    assert {"PREFECT_SERVER_API_AUTH_STRING", "PREFECT_SERVER_DATABASE_CONNECTION_URL"} <= server_alone
    assert "user:word" not in str(stack.exports())
