"""Weights & Biases, as a reader of the journal in a process of its own: tracking can neither stall nor fail a run.

`Tracker` (in the driver) starts `python -m flows.adapters.wandb_follow ORDER.json`, which follows metrics.jsonl and logs to one W&B run with a
deterministic id. One reader means one W&B run, whatever the number of workers. Nothing here imports wandb.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import psutil

from components.errors import UserError
from components.files import read_object, write_json
from components.spec.schema import TrackingSpec
from flows.processes import end_group
from flows.project import python_command

ORDER, STOP, ENDED = "wandb-order.json", "wandb-stop.json", "wandb-ended.json"  # what to track; how it ended; that W&B's files hold it to its end
UNDELIVERED = 3  # the exit code of a process of ours that should have told W&B's server something and could not
_INTERRUPTED_SECONDS = 5.0
_KEY = re.compile(r"[A-Za-z0-9_-]{40,}")


def tracking_mode(tracking: TrackingSpec, environment: Mapping[str, str] = os.environ) -> str:
    """Return online, offline or disabled; `auto` is online where WANDB_API_KEY is set.

    Raises:
        UserError: online was asked for without a key, or the key cannot be one.
    """
    key = environment.get("WANDB_API_KEY", "")
    mode = ("online" if key else "offline") if tracking.mode == "auto" else tracking.mode
    if mode == "online" and not _KEY.fullmatch(key):
        raise UserError(
            "WANDB_API_KEY is not a W&B key",
            received=f"{len(key)} characters" if key else "no key",  # never the key itself
            expected="40 or more letters and digits, from your W&B settings page",
            mend="set it right; a run can do without: tracking=offline, and `modelyard sync` later",
        )
    return mode


def is_unfinished(directory: Path, identifier: str) -> bool:
    """Tell whether an attempt began to track a training, and the tracker was not handed everything: somebody was killed."""
    return read_object(directory / ORDER).get("id") == identifier and not (directory / ENDED).is_file()


class Tracker:
    """Follows one training run from a process of its own.

    Args:
        directory: the run's directory under the store: order, log and W&B files lie in it.
        order: what to track: `id`, `stage`, `group`, `job_type`, `name`, `journal`, `config`, `tags`.
    """

    def __init__(self, tracking: TrackingSpec, directory: Path, order: Mapping[str, Any]) -> None:
        self._timeout = tracking.finish_timeout_seconds
        self._directory, self._stop = directory, directory / STOP
        for name in (STOP, ENDED):
            (directory / name).unlink(missing_ok=True)
        write_order(tracking, directory / ORDER, {**order, "mode": tracking_mode(tracking), "journal": self._relative(order["journal"])})
        self._process = start("flows.adapters.wandb_follow", directory / ORDER, directory / "wandb.log")

    def finish(self, summary: Mapping[str, float], report: Path | None = None, exit_code: int = 0) -> None:
        """Hand over the final figures and the report's page, and let the tracker end by itself; does not wait."""
        page = None if report is None else self._relative(report)
        write_json(self._stop, {"summary": dict(summary), "report": page, "exit_code": exit_code})

    def close(self) -> str | None:
        """Wait a bounded time for the tracker to end, then end it. Returns a sentence when something was not tracked."""
        timeout = self._timeout
        if not self._stop.exists():  # the run failed or was interrupted
            self.finish({}, exit_code=1)
            timeout = min(timeout, _INTERRUPTED_SECONDS)
        return wait_for(self._process, timeout)

    def _relative(self, path: str | Path) -> str:
        """A store may be moved whole, and be synced elsewhere."""
        return os.path.relpath(path, self._directory)


def write_order(tracking: TrackingSpec, path: Path, order: Mapping[str, Any]) -> None:
    """Write an order for a process of ours: where W&B's run lies, and what is to be told. The key is in the environment, never in a file."""
    where = {"project": tracking.project, "entity": tracking.entity, "timeout_seconds": tracking.finish_timeout_seconds}
    write_json(path, {**where, **order, "parent": os.getpid()})


def start(module: str, order: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start a process that carries out an order, the leader of a group of its own."""
    command = python_command(module, str(order))
    with open(log, "ab") as output:
        streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output}
        return subprocess.Popen(command, **streams, env=quiet(), start_new_session=True)


def quiet() -> dict[str, str]:
    """The environment in which W&B runs: offline it would still send statistics of itself to its server."""
    return {"WANDB_ERROR_REPORTING": "false", **os.environ}


def wait_for(process: subprocess.Popen[bytes], seconds: float) -> str | None:
    """Wait a bounded time for a process of ours, then end it. Returns a sentence when W&B was not told everything."""
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        end_group(process, signal.SIGTERM, _INTERRUPTED_SECONDS)
        shutil.rmtree(scratch(process.pid), ignore_errors=True)
        return f"W&B did not take everything within {seconds:g} s; nothing is lost: `modelyard sync` sends the rest"
    if code == UNDELIVERED:
        return "W&B did not take everything; nothing is lost: `modelyard sync` sends the rest"
    return None if code == 0 else f"the tracker ended with code {code}; see wandb.log in the run's directory"


def scratch(pid: int) -> Path:
    """Where the temporary files of a process of ours go. Short: W&B's core has its socket there."""
    return Path(tempfile.gettempdir()) / f"modelyard-wandb-{pid}"


def settle() -> None:
    """Have all temporary files of this process, and of W&B's core, in one folder. Before W&B is imported."""
    folder = scratch(os.getpid())
    folder.mkdir(mode=0o700, exist_ok=True)
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)


def leave(code: int) -> NoReturn:
    """End a process of ours at once: W&B's own exit would wait for a server that does not answer."""
    sys.stderr.flush()
    end_children()
    shutil.rmtree(tempfile.gettempdir(), ignore_errors=True)  # `settle` has made it
    os._exit(code)


def end_children() -> None:
    """End W&B's core, which goes on asking a server that does not answer. What is logged and finished is in its file."""
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            child.kill()
