"""One trial: the stages of a run up to its training, in this process, with each epoch reported as it comes.

A trial's training is the stage that `modelyard run` with the same overrides has: found in the store it is not made again, killed it goes on.
"""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from components.training.journal import Follower, read
from components.training.notices import Notice, Told
from flows.open import open_run
from flows.run import PipelineRun
from flows.store import Manifest
from flows.upstream import NEEDED
from flows.workers import InlineWorkers

Report = Callable[[dict[str, Any]], None]

_POLL_SECONDS = 0.1
_LEAVE_SECONDS = 30.0  # for the step that is being made, and its checkpoint


def overrides_of(values: Mapping[str, Any]) -> list[str]:
    """Return a trial's values as overrides for a command line."""
    return [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in values.items()]


def carry_out(overrides: list[str], command: str, report: Report, since_step: int = 0) -> Manifest:
    """Train one configuration, or find it trained.

    Args:
        overrides: of the whole configuration, the trial's values included.
        command: how the search was asked for, for the record.
        report: takes `{step, percent, <monitored metric>}` after each validation; raises to end the trial, which then saves and leaves.
        since_step: what was reported of this configuration before.

    Returns:
        The train stage.
    """
    journals: queue.SimpleQueue[Path] = queue.SimpleQueue()

    @contextmanager
    def follow(stage: str, directory: Path) -> Iterator[None]:
        journals.put(directory / "metrics.jsonl")
        yield

    told = Told()
    run = open_run(overrides, command, follow=follow)
    run.use(InlineWorkers(run.spec.cluster, told))
    training = _Thread(run)
    training.start()
    metric = run.spec.trainer.monitor.metric
    try:
        _report_all(_grown(training, journals), metric, since_step, report)
    except BaseException:
        told.notice = Notice.STOP
        training.join(_LEAVE_SECONDS)
        raise
    training.join()
    if training.error is not None:
        raise training.error
    found = run.done["train"]
    if run.results["train"].status == "reused":
        _report_all(iter(read(found.directory / "metrics.jsonl")), metric, since_step, report)
    return found


class _Thread(threading.Thread):
    """The training. Tune's own thread is the one that reports, and in which it says stop."""

    def __init__(self, run: PipelineRun) -> None:
        super().__init__(daemon=True)
        self._pipeline = run
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            with self._pipeline as run:
                for stage in NEEDED:
                    run.stage(stage)
        except BaseException as error:
            self.error = error


def _grown(training: threading.Thread, journals: queue.SimpleQueue[Path]) -> Iterator[dict[str, Any]]:
    """Yield the records of a training's journal as they are written, to its end."""
    follower = None
    while True:
        last = not training.is_alive()
        if follower is None and not journals.empty():
            follower = Follower(journals.get())
        if follower is not None:
            yield from follower.new_records()
        if last:
            return
        training.join(_POLL_SECONDS)


def _report_all(records: Iterator[dict[str, Any]], metric: str, since_step: int, report: Report) -> None:
    total = 0
    for record in records:
        total = record.get("total_steps", total)
        if record["kind"] == "epoch" and record["step"] > since_step:
            report({"step": record["step"], "percent": 100.0 * record["step"] / total, metric: record.get(metric)})
