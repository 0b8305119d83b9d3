"""Weights & Biases, as a reader of the journal in a process of its own: tracking can neither stall nor fail a run.

`Tracker` (in the driver) starts `python -m flows.adapters.wandb ORDER.json`, which follows metrics.jsonl, logs to one W&B run with a
deterministic id, and falls back to offline when the server cannot be reached. One reader means one W&B run, whatever the number of workers.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.errors import UserError
from components.files import read_json, write_json
from components.spec.schema import TrackingSpec
from components.training.journal import Follower
from flows.processes import end_group
from flows.project import python_command

_POLL_SECONDS = 0.5
_INIT_SECONDS = 30.0
_INTERRUPTED_SECONDS = 5.0
_ORDER, _ENDED = "wandb-order.json", "wandb-ended.json"  # what is to be tracked; that it has been, figures of the evaluation included
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
            mend="set it right, or run with tracking=offline and sync later",
        )
    return mode


def is_unfinished(directory: Path, identifier: str) -> bool:
    """Tell whether an attempt began to track a training, and the tracker was not handed everything: somebody was killed."""
    try:
        order = read_json(directory / _ORDER)
    except (OSError, ValueError):
        return False
    return order["id"] == identifier and not (directory / _ENDED).is_file()


class Tracker:
    """Follows one training run from a process of its own.

    Args:
        directory: the run's directory under the store: order, log and W&B files lie in it.
        order: what to track: `id`, `group`, `name`, `journal`, `config`, `tags`.
    """

    def __init__(self, tracking: TrackingSpec, directory: Path, order: dict[str, Any]) -> None:
        self._timeout = tracking.finish_timeout_seconds
        self._stop = directory / "wandb-stop.json"
        self._stop.unlink(missing_ok=True)
        (directory / _ENDED).unlink(missing_ok=True)
        path = directory / _ORDER
        plain = {
            "mode": tracking_mode(tracking),
            "project": tracking.project,
            "entity": tracking.entity,
            "directory": str(directory),
            **order,
        }
        write_json(path, {**plain, "stop": str(self._stop), "parent": os.getpid()})
        with open(directory / "wandb.log", "ab") as output:
            command = python_command("flows.adapters.wandb", str(path))
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)

    def finish(self, summary: dict[str, float], exit_code: int = 0) -> None:
        """Hand over the final figures and let the tracker end by itself; does not wait."""
        write_json(self._stop, {"summary": summary, "exit_code": exit_code})

    def close(self) -> str | None:
        """Wait a bounded time for the tracker to end, then end it. Returns a sentence when something was not tracked."""
        timeout = self._timeout
        if not self._stop.exists():  # the run failed or was interrupted
            self.finish({}, exit_code=1)
            timeout = min(timeout, _INTERRUPTED_SECONDS)
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            end_group(self._process, signal.SIGTERM, _INTERRUPTED_SECONDS)
            return f"the tracker did not finish within {timeout:g} s; the figures are in metrics.jsonl"
        return None if code == 0 else f"the tracker ended with code {code}; see wandb.log in the run's directory"


def _start(order: dict[str, Any]) -> Any:
    import wandb

    os.makedirs(order["directory"], exist_ok=True)
    options = {
        "project": order["project"],
        "entity": order["entity"],
        "id": order["id"],
        "group": order["group"],
        "name": order["name"],
        "job_type": "train",
        "config": order["config"],
        "tags": order["tags"],
        "dir": order["directory"],
        "resume": "allow" if order["mode"] == "online" else None,  # offline has no resume; `wandb sync --id` joins the pieces
        "settings": wandb.Settings(console="off", silent=True, init_timeout=_INIT_SECONDS, disable_git=True, disable_code=True),
    }
    try:
        return wandb.init(mode=order["mode"], **options)
    except Exception as error:  # no network, a key that the server refuses ...: never the run's problem
        print(f"W&B is not reachable ({error}); tracking offline, `wandb sync` later", file=sys.stderr)
        return wandb.init(mode="offline", **{**options, "resume": None})


def main(path: Path) -> None:
    """Track what an order names until its stop file appears or the parent is gone."""
    order = read_json(path)
    stop = Path(order["stop"])
    records: list[dict[str, Any]] = []
    while not records:  # wandb's import would take time from the workers' start
        over = stop.exists() or _orphaned(order)
        follower = Follower(_journal(Path(order["journal"])))
        records = follower.new_records()
        if over and not records:
            return
        time.sleep(_POLL_SECONDS)
    run = _start(order)
    run.define_metric("*", step_metric="step")
    ended = False
    while True:
        for record in records:
            run.log({k: v for k, v in record.items() if k != "kind" and isinstance(v, (int, float))})
        if ended:
            break
        if _orphaned(order):  # the next attempt tracks on under the same id
            run.finish(exit_code=1)
            return
        time.sleep(_POLL_SECONDS)
        ended = stop.exists()
        records = follower.new_records()
    last = read_json(stop)
    for name, value in last["summary"].items():
        run.summary[name] = value
    run.finish(exit_code=last["exit_code"])
    if last["exit_code"] == 0:
        write_json(Path(order["directory"]) / _ENDED, {"id": order["id"]})


def _journal(path: Path) -> Path:
    """The journal, or where it lies since its stage was committed: a short training ends before this process looks."""
    committed = path.parent.with_name(path.parent.name.removesuffix(".partial")) / path.name
    return committed if committed.is_file() and not path.is_file() else path


def _orphaned(order: dict[str, Any]) -> bool:
    """The driver was killed."""
    parent: int = order["parent"]
    return os.getppid() != parent


if __name__ == "__main__":
    main(Path(sys.argv[1]))
