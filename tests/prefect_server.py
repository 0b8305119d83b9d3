"""One Prefect server for all tests of a session: a server of its own costs each run five seconds of a core, and its first start three more."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import urllib.request
from pathlib import Path

from flows.project import python_command
from tests.processes import until

ROOT = Path(__file__).resolve().parents[1]


class PrefectServer:
    """A server on a free loopback port, with a database of its own, which ends with this process at the latest.

    Attributes:
        env: what makes commands talk to it.
    """

    def __init__(self) -> None:
        self._home = tempfile.mkdtemp(prefix="prefect-")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.env = {"PREFECT_HOME": self._home, "PREFECT_API_URL": f"http://127.0.0.1:{port}/api"}
        command = python_command("flows.adapters.prefect_server", str(port))
        env = {**os.environ, **self.env, "DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
        self._process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
        shutil.rmtree(self._home, ignore_errors=True)


def answers(env: dict[str, str]) -> bool:
    """Tell whether the server answers by now."""
    try:
        with urllib.request.urlopen(f"{env['PREFECT_API_URL']}/health", timeout=5):
            return True
    except OSError:
        return False


def wait_until_it_answers(env: dict[str, str]) -> None:
    assert until(lambda: answers(env), 200, pause_seconds=0.1), "the Prefect server of the tests did not start"
