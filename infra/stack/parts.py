"""The three processes of a stack: what is run, and how each tells that it works."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from infra.prefect.api import Api
from infra.stack.layout import POOL, Stack
from infra.stack.service import Service

_HOST = "127.0.0.1"


def api(stack: Stack) -> Api:
    """The stack's Prefect server, with the credentials of its environment where it asks for some."""
    return Api(stack.api_url, stack.environment().get("PREFECT_API_AUTH_STRING"))


def server(stack: Stack) -> Service:
    """Prefect's API and pages, over a database in the stack's folder."""
    command = [tool("prefect"), "server", "start", "--host", _HOST, "--port", str(stack.ports.prefect)]
    return Service("server", stack.folder, command, stack.server_environment(), api(stack).healthy)


def ray_head(stack: Stack) -> Service:
    """Ray's head with all CPUs and GPUs of this machine. The dashboard is on: without it a search that stops trials early waits for ever."""
    command = [tool("ray"), "start", "--head", "--block", "--disable-usage-stats", f"--node-ip-address={_HOST}", f"--port={stack.ports.ray}"]
    command += [f"--dashboard-host={_HOST}", f"--dashboard-port={stack.ports.dashboard}", f"--temp-dir={stack.ray_temporary}"]
    return Service("ray", stack.folder, command, stack.environment(), lambda: listens(stack.ports.ray or 0), says="Ray runtime started")


def worker(stack: Stack) -> Service:
    """Takes runs from the work pool, which it makes where it is missing, and runs each as a process in the project's folder."""
    command = [tool("prefect"), "worker", "start", "--pool", POOL, "--type", "process", "--name", "stack"]
    return Service("worker", stack.folder, command, stack.environment(), lambda: True, says="Worker 'stack' started!", tells_children=True)


def parts(stack: Stack) -> list[Service]:
    """In the order in which they are ended: first who would start something new."""
    return [worker(stack), *([ray_head(stack)] if stack.ports.ray is not None else []), server(stack)]


def tool(name: str) -> str:
    """Return the path of a command that lies beside this interpreter."""
    return str(Path(sys.executable).parent / name)


def listens(port: int) -> bool:
    """Tell whether somebody takes connections at a loopback port."""
    with socket.socket() as probe:
        probe.settimeout(5.0)
        return probe.connect_ex((_HOST, port)) == os.EX_OK
