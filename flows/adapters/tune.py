"""Ray Tune, seen from the driver: a search that lives in a process of its own (flows/adapters/tune_group.py) and tells what happens in a journal.

Apart, because Ray takes over what it lives in: signal handlers, and the whole process when its core aborts. The search's directory holds

    order.json      what to search, and with what
    ray/            Tune's state: the same order, given again, goes on with it
    search.jsonl    one line an event of a trial, `{"kind", "trial", "values", "at", ...}` (flows/search/results.py)
    spent.json      seconds and GPU-seconds so far, over all attempts
    failures/       why trials failed, a file a trial
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

from components.errors import RunError
from components.files import read_json, write_json
from components.spec.parse import to_plain
from components.spec.schema import Spec
from components.training.journal import Follower
from flows.adapters.ray import as_error
from flows.processes import end_group, end_session
from flows.project import python_command

JOURNAL = "search.jsonl"
STATE = "ray"
FAILURES = "failures"
_POLL_SECONDS = 0.2
_END_SECONDS = 30.0


@dataclass(frozen=True)
class Asked:
    """What is searched.

    Attributes:
        root: the project.
        spec: the experiment, with its `tune`.
        overrides: that composed it; a trial's values are added to them.
        command: how the search was asked for.
        run_id: of the run that searches.
        stages: that each trial does.
        population: folder for the checkpoints that trials hand on.
        known: what earlier searches measured, `[(values, value)]`, best first.
        data: key of the data stage that all trials are compared on; None where each has its own.
    """

    root: Path
    spec: Spec
    overrides: list[str]
    command: str
    run_id: str
    stages: tuple[str, ...]
    population: Path
    known: list[tuple[dict[str, Any], float]]
    data: str | None = None


def search(directory: Path, asked: Asked, on_event: Callable[[dict[str, Any]], None]) -> None:
    """Search until the budget is spent; a search that was cut off goes on.

    Args:
        directory: of this search.
        asked: what to search.
        on_event: takes each new line of the journal.

    Raises:
        UserError: the cluster holds not one trial, or the first trial refused its configuration.
        RunError: Ray Tune failed.
    """
    failed, journal = directory / "failed.json", directory / JOURNAL
    failed.unlink(missing_ok=True)
    write_json(directory / "order.json", _order(directory, asked))
    with open(directory / "search.log", "ab") as output:
        command_line = python_command("flows.adapters.tune_group", str(directory / "order.json"))
        process = subprocess.Popen(command_line, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
    try:
        _follow(process, Follower(journal), on_event)
    finally:
        if process.poll() is None:
            process.terminate()  # it alone, not its group: it has its cluster to end
            try:
                process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                end_group(process, signal.SIGKILL, _END_SECONDS)
        end_session(process.pid)
    if failed.exists():
        raise as_error(read_json(failed), "the search")
    if process.returncode != 0:
        tail = "\n".join((directory / "search.log").read_text(errors="replace").splitlines()[-15:])
        raise RunError(f"the search ended with code {process.returncode}:\n{tail}")


def _order(directory: Path, asked: Asked) -> dict[str, Any]:
    assert asked.spec.tune is not None
    return {
        "root": str(asked.root),
        "directory": str(directory),
        "overrides": asked.overrides,
        "command": asked.command,
        "run_id": asked.run_id,
        "stages": list(asked.stages),
        "population": str(asked.population),
        "known": asked.known,
        "data": asked.data,
        "cluster": to_plain(asked.spec.cluster),
        "tune": to_plain(asked.spec.tune),
        "mode": asked.spec.trainer.monitor.mode,
    }


def _follow(process: subprocess.Popen[bytes], follower: Follower, on_event: Callable[[dict[str, Any]], None]) -> None:
    while True:
        ended = process.poll() is not None
        for event in follower.new_records():
            on_event(event)
        if ended:
            return
        time.sleep(_POLL_SECONDS)
