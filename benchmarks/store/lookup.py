"""Look-ups, commits and listings in stores of 10 to 10,000 runs."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.project import copy_project, timed
from benchmarks.store.generate import fill, finished_run, opened
from components.spec.schema import Spec
from flows.compose import compose, group_choices
from flows.run import PipelineRun
from flows.stages import STAGES, decide, key_parts
from flows.store import Manifest, Store

SIZES = (10, 100, 1_000, 10_000)
REPEATS = 15
COMMAND_REPEATS = 3
OVERRIDES = ("cluster=inline", "debug=fast", "tracking=disabled")
COMMANDS = {"modelyard run, unchanged": ["run", *OVERRIDES], "modelyard list": ["list"], "modelyard doctor": ["doctor"]}


def measure(
    sizes: Sequence[int] = SIZES, repeats: int = REPEATS, commands: Sequence[str] = tuple(COMMANDS)
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return a row an operation with a column a size: milliseconds, medians; and notes. One store grows, so the sizes must.

    Looking is timed in CPU time, which others' work on the machine does not lengthen; writing on the clock, because it waits for the disk.
    """
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        project = copy_project(Path(folder) / "project")
        spec = compose(project, OVERRIDES)
        run = finished_run(project, spec, Store(project / "store"))
        experiments = group_choices(project / "conf", "experiment")
        for size in sizes:
            fill(run, size, experiments)
            column = f"{size:,} runs"
            for name, operation in _operations(run, spec).items():
                found.setdefault(name, {})[column] = 1e3 * statistics.median(operation() for _ in range(repeats))
            for name, operation in _commands(project, commands).items():
                found.setdefault(name, {})[column] = 1e3 * statistics.median(operation() for _ in range(min(repeats, COMMAND_REPEATS)))
    rows = [{"operation": name, **figures, "last/first": figures[_last(figures)] / next(iter(figures.values()))} for name, figures in found.items()]
    return rows, {"unit": "ms of CPU, but for what says `clock`", "repeats": repeats, "of commands": COMMAND_REPEATS}


def _last(figures: dict[str, float]) -> str:
    return list(figures)[-1]


def _operations(run: PipelineRun, spec: Spec) -> Mapping[str, Callable[[], float]]:
    """What the unchanged command asks of the store, and what a stage that ran does. Each gives the seconds of one time."""
    store, fresh = run.store, count(time.time_ns())
    parts = list(_parts(run, spec))

    def find() -> None:
        assert all(store.find(stage, known) for stage, known in parts)

    def absent() -> None:
        assert not any(store.find(stage, {**known, "stage": "another"}) for stage, known in parts)

    def decisions() -> None:
        assert all(d.manifest for d in decide(spec, store))

    def reuse() -> None:
        assert opened(run.root, spec, store).reuse_all()

    def append() -> None:
        store.ledger.append("benchmark", {"value": 1})

    def commit() -> None:
        known = {"stage": "check", "number": next(fresh)}
        with store.run("check", known, print) as made:
            assert not isinstance(made, Manifest)
            (made.directory / "output").write_text("x")
        manifest = store.find("check", known)
        assert manifest is not None
        store.enter(manifest)

    looking = {
        "Store.find, five stages": find,
        "Store.find, five absent ones": absent,
        "stages.decide": decisions,
        "PipelineRun.reuse_all": reuse,
    }
    writing = {"Ledger.append, clock": append, "Store.run and enter, a small stage, clock": commit}
    timed_operations = {name: partial(_seconds, operation, time.process_time) for name, operation in looking.items()}
    return timed_operations | {name: partial(_seconds, operation, time.perf_counter) for name, operation in writing.items()}


def _parts(run: PipelineRun, spec: Spec) -> Iterator[tuple[str, dict[str, Any]]]:
    """What each stage's key is the hash of."""
    for i, stage in enumerate(STAGES):
        yield stage, key_parts(stage, spec, {s: run.done[s] for s in STAGES[:i]})


def _seconds(operation: Callable[[], None], clock: Callable[[], float]) -> float:
    started = clock()
    operation()
    return clock() - started


def _commands(project: Path, names: Sequence[str]) -> Mapping[str, Callable[[], float]]:
    """Whole commands, as a person types them."""
    return {name: partial(_cpu_seconds, [sys.executable, "-m", "flows", *COMMANDS[name]], project) for name in names}


def _cpu_seconds(command: Sequence[str], project: Path) -> float:
    return timed(command, project).cpu_seconds
