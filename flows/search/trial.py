"""One trial: the stages of a run up to its training, in this process, with each validation reported as it comes.

A trial's training is the stage that `modelyard run` with the same overrides has: found in the store it is not made again, killed it goes on.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from components.errors import Interrupted
from components.spec.parse import to_plain
from components.training.journal import Follower, read
from components.training.notices import Notice, Told
from flows.account import StageResult
from flows.open import open_run
from flows.run import PipelineRun
from flows.stages import configuration
from flows.upstream import NEEDED
from flows.workers import start_workers

_WHOLE = 100.0 - 1e-6
_POLL_SECONDS = 0.1
_LEAVE_SECONDS = 120.0  # for the step that is being made, its checkpoint, and the end of a worker group


@dataclass(frozen=True)
class Measured:
    """What a training has come to.

    Attributes:
        step: steps made.
        percent: of the planned steps; 100 where none are planned, of a closed form.
        value: of the monitored metric; None where it is no number.
        directory: of the training, its checkpoints in it.
        finished: the training has ended by itself, at its planned end or before.
    """

    step: int
    percent: float
    value: float | None
    directory: Path
    finished: bool = False


def carry_out(
    overrides: list[str],
    command: str,
    part_of: str,
    report: Callable[[Measured], None],
    since_step: int = 0,
    stages: Sequence[str] = NEEDED,
    data: str | None = None,
) -> None:
    """Train one configuration, or find it trained.

    Args:
        overrides: of the whole configuration, the trial's values included.
        command: how the search was asked for, for the record.
        part_of: the id of the run that searches.
        report: called after each validation and at the end; raises to end the trial, whose training then saves and leaves.
        since_step: what was reported of this configuration before.
        stages: of the run that are done; those after the training, too, where what it comes to is wanted.
        data: key of the data stage that a search is of; what its trials come to is compared.
    """
    journals: queue.SimpleQueue[Path] = queue.SimpleQueue()

    @contextmanager
    def follow(stage: str, directory: Path) -> Iterator[None]:
        journals.put(directory)
        yield

    told = Told()
    run = open_run(overrides, command, follow=follow, part_of=part_of)
    run.work_with(start_workers(run.spec.cluster, run.store.mailboxes, told))
    training = _Training(run, stages, data)
    training.start()
    metric = run.spec.trainer.monitor.metric
    last: Measured | None = None
    try:
        for measured in _validations(training, journals, metric):
            last = measured
            if since_step < measured.step and measured.percent < _WHOLE:  # the last one is told once the training has ended
                since_step = measured.step
                report(measured)
    except BaseException:
        told.notice = Notice.STOP
        training.join(_LEAVE_SECONDS)
        raise
    if training.error is not None:
        raise training.error
    if last is not None:
        report(replace(last, finished=True))


def _take_data(run: PipelineRun, key: str) -> None:
    """Have a trial train on the data that the search began with, though they may have grown meanwhile; not where it varies how they are prepared."""
    found = run.store.read("data", key)
    if found is not None and found.parts["config"] == to_plain(configuration("data", run.spec)):
        run.use(("data", key))
        run.done["data"], run.results["data"] = found, StageResult("reused", 0.0, str(found.directory), key, "the search's")


class _Training(threading.Thread):
    """The stages of a run up to its training. Tune's own thread is the one that reports, and in which Tune says stop."""

    def __init__(self, run: PipelineRun, stages: Sequence[str], data: str | None) -> None:
        super().__init__(daemon=True)
        self.pipeline, self._stages, self._data = run, stages, data
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            with self.pipeline as run:
                if self._data is not None:
                    _take_data(run, self._data)
                for stage in self._stages:
                    if stage not in run.done:
                        run.stage(stage)
                run.end_with_training()
        except Interrupted:  # it was told to
            pass
        except BaseException as error:
            self.error = error


def _validations(training: _Training, journals: queue.SimpleQueue[Path], metric: str) -> Iterator[Measured]:
    """Yield a training's validations as they are journalled, then those of the finished stage: of a short one the end may come first."""
    follower, total = None, 0
    while training.is_alive():
        training.join(_POLL_SECONDS)
        if follower is None and not journals.empty():
            directory = journals.get()
            follower = Follower(directory / "metrics.jsonl")
        for record in follower.new_records() if follower is not None else ():
            total = record.get("total_steps", total)
            if record["kind"] == "epoch":
                yield _measured(record, metric, total, directory)
    if training.error is None and "train" in training.pipeline.done:
        directory = training.pipeline.done["train"].directory
        for record in read(directory / "metrics.jsonl"):
            total = record.get("total_steps", total)
            if record["kind"] == "epoch":
                yield _measured(record, metric, total, directory)


def _measured(record: dict[str, Any], metric: str, total: int, directory: Path) -> Measured:
    return Measured(record["step"], 100.0 * record["step"] / total if total else 100.0, record.get(metric), directory)
