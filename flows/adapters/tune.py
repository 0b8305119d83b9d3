"""Ray Tune, seen from the driver: a search that lives in a process of its own (flows/adapters/tune_group.py) and tells what happens in a journal.

Apart, because Ray takes over what it lives in: signal handlers, and the whole process when its core aborts. The search's directory holds

    order.json      what to search, and with what
    ray/            Tune's state: the same order, given again, goes on with it
    search.jsonl    {"kind": "result" | "end" | "error", "trial", "values", "at", ...}, one line an event
    failed.json     why the search itself failed
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.errors import RunError, UserError
from components.files import read_json, write_json
from components.spec.parse import to_plain
from components.spec.schema import Spec
from components.training.journal import Follower
from flows.processes import end_group
from flows.project import python_command

JOURNAL = "search.jsonl"
_WAITING_CPUS = 0.01  # of a trial that has a worker group of its own and only waits for it
_POLL_SECONDS = 0.2
_END_SECONDS = 15.0


@dataclass(frozen=True)
class Asked:
    """What is searched.

    Attributes:
        root: the project.
        spec: the experiment, with its `tune`.
        overrides: that composed it; a trial's values are added to them.
        command: how the search was asked for.
        at_once: how many trials the cluster holds.
    """

    root: Path
    spec: Spec
    overrides: list[str]
    command: str
    at_once: int


def search(directory: Path, asked: Asked, on_event: Callable[[dict[str, Any]], None]) -> None:
    """Search until the budget is spent; a search that was cut off goes on.

    Args:
        directory: of this search.
        asked: what to search.
        on_event: takes each new line of the journal.

    Raises:
        UserError: the first trial refused its configuration.
        RunError: Ray Tune failed.
    """
    failed, journal = directory / "failed.json", directory / JOURNAL
    failed.unlink(missing_ok=True)
    write_json(directory / "order.json", {**_order(directory, asked), "journal": str(journal), "failed": str(failed)})
    with open(directory / "search.log", "ab") as output:
        command_line = python_command("flows.adapters.tune_group", str(directory / "order.json"))
        process = subprocess.Popen(command_line, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
    try:
        _follow(process, Follower(journal), on_event)
    finally:
        end_group(process, signal.SIGTERM, _END_SECONDS)
    if failed.exists():
        record = read_json(failed)
        if record["kind"] == "UserError":
            raise UserError(record["what"], received=record["received"], expected=record["expected"], mend=record["mend"] or "")
        raise RunError(f"the search failed: {record['error']}\n{record['traceback']}")
    if process.returncode != 0:
        tail = "\n".join((directory / "search.log").read_text(errors="replace").splitlines()[-15:])
        raise RunError(f"the search ended with code {process.returncode}:\n{tail}")


def _order(directory: Path, asked: Asked) -> dict[str, Any]:
    """What the process is told. A trial of one worker trains in Tune's own actor; one of several starts its group on the same cluster."""
    spec, cluster = asked.spec, asked.spec.cluster
    assert spec.tune is not None
    alone = {"CPU": cluster.cpus_per_worker} | ({"GPU": cluster.gpus_per_worker} if cluster.gpus_per_worker else {})
    where = ["cluster.address=auto"] if cluster.workers > 1 else ["cluster=inline", f"cluster.gpus_per_worker={cluster.gpus_per_worker}"]
    return {
        "root": str(asked.root),
        "overrides": [*asked.overrides, "tune=null", *where],
        "command": asked.command,
        "address": cluster.address,
        "tune": to_plain(spec.tune),
        "resources": {"CPU": _WAITING_CPUS} if cluster.workers > 1 else alone,
        "state": str(directory / "ray"),
        "metric": spec.trainer.monitor.metric,
        "mode": spec.trainer.monitor.mode,
        "at_once": asked.at_once,
    }


def _follow(process: subprocess.Popen[bytes], follower: Follower, on_event: Callable[[dict[str, Any]], None]) -> None:
    while True:
        ended = process.poll() is not None
        for event in follower.new_records():
            on_event(event)
        if ended:
            return
        time.sleep(_POLL_SECONDS)
