"""Prefect: its environment, and the server that a run talks to. The flow itself is flows/pipeline.py.

Without PREFECT_API_URL a run gets a temporary server of its own, as Prefect's own ephemeral mode does. Ours starts before Prefect is imported
(five seconds saved), leads its own process group (a terminal's Ctrl-C must not kill the server to which the flow reports its end), and dies
with its driver, however that dies (flows/adapters/prefect_server.py).
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from components.errors import RunError, UserError
from flows.processes import end_group
from flows.project import python_command

_DEFAULTS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",  # on the terminal our own lines say what happens
}
_START_SECONDS = 120.0
_STOP_SECONDS = 5.0
_POLL_SECONDS = 0.1
_ANSWER_SECONDS = 5.0


def set_environment() -> None:
    """Set what the user has not set. Must run before Prefect is imported."""
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)


@contextmanager
def server() -> Iterator[Callable[[], None]]:
    """Hold a server for the block: the one that PREFECT_API_URL names, or a temporary one.

    Yields a function that waits until it answers, to be called when Prefect has been imported meanwhile.
    """
    if os.environ.get("PREFECT_API_URL"):
        yield lambda: None
        return
    port = _free_port()
    url = f"http://127.0.0.1:{port}/api"
    process = subprocess.Popen(
        python_command("flows.adapters.prefect_server", str(port)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.environ["PREFECT_API_URL"] = url
    try:
        yield lambda: _wait(process, url)
    finally:
        del os.environ["PREFECT_API_URL"]
        end_group(process, signal.SIGTERM, _STOP_SECONDS)


def drain() -> None:
    """Send the logs and events that Prefect still holds in its threads, while the server is there to take them; bounded in time."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogHandler

    APILogHandler().flush()
    EventsWorker.drain_all(timeout=_STOP_SECONDS)


def _wait(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except OSError:
            time.sleep(_POLL_SECONDS)
    raise RunError(
        f"the temporary Prefect server did not start (exit code {process.poll()}); its reason: run `python -m flows.adapters.prefect_server 0`"
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def require_server() -> None:
    """Check that the server which PREFECT_API_URL names is there and is Prefect.

    Raises:
        UserError: nothing answers there, or something else does.
    """
    if url := os.environ.get("PREFECT_API_URL"):
        check_server(url, _ANSWER_SECONDS)


def check_server(url: str, seconds: float) -> None:
    """Check that a Prefect server answers at a URL, within some seconds; raises as `require_server`."""
    mend = "start it with `prefect server start`, or unset PREFECT_API_URL to run on a temporary server"
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=seconds) as answer:
            body = answer.read(64).strip()
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):  # a server that wants credentials; Prefect's client has them
            return
        raise UserError("what answers at PREFECT_API_URL is not a Prefect server", received=f"{url}: HTTP {error.code}", mend=mend) from error
    except (OSError, ValueError) as error:
        raise UserError(f"no Prefect server answers: {error}", received=f"PREFECT_API_URL={url}", mend=mend) from error
    if body != b"true":
        raise UserError("what answers at PREFECT_API_URL is not a Prefect server", received=f"{url}: {body[:32]!r}", mend=mend)
