"""Look-ups, commits and listings in stores of 10 to 10,000 runs."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
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
REPEATS = 5
OVERRIDES = ("cluster=inline", "debug=fast", "tracking=disabled")
COMMANDS = {"modelyard run, unchanged": ["run", *OVERRIDES], "modelyard list": ["list"], "modelyard doctor": ["doctor"]}


def measure(
    sizes: Sequence[int] = SIZES, repeats: int = REPEATS, commands: Sequence[str] = tuple(COMMANDS)
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return a row an operation with a column a size: milliseconds, medians; and notes. One store grows, so the sizes must."""
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        project = copy_project(Path(folder) / "project")
        spec = compose(project, OVERRIDES)
        run = finished_run(project, spec, Store(project / "store"))
        experiments = group_choices(project / "conf", "experiment")
        for size in sizes:
            fill(run, size, experiments)
            for name, operation in {**_operations(run, spec), **_commands(project, commands)}.items():
                found.setdefault(name, {})[f"{size:,} runs"] = 1e3 * statistics.median(operation() for _ in range(repeats))
    rows = [{"operation": name, **figures, "last/first": figures[_last(figures)] / next(iter(figures.values()))} for name, figures in found.items()]
    return rows, {"unit": "ms; of the commands ms of CPU", "repeats": repeats, "stages a run": len(STAGES)}


def _last(figures: dict[str, float]) -> str:
    return list(figures)[-1]


def _operations(run: PipelineRun, spec: Spec) -> dict[str, Callable[[], float]]:
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
        with store.run("check", known, print) as partial:
            assert not isinstance(partial, Manifest)
            (partial.directory / "output").write_text("x")
        manifest = store.find("check", known)
        assert manifest is not None
        store.enter(manifest)

    operations = {
        "Store.find, five stages": find,
        "Store.find, five absent ones": absent,
        "stages.decide": decisions,
        "PipelineRun.reuse_all": reuse,
        "Ledger.append": append,
        "Store.run and enter, a small stage": commit,
    }
    return {name: lambda operation=operation: _seconds(operation) for name, operation in operations.items()}  # type: ignore[misc]


def _parts(run: PipelineRun, spec: Spec) -> Iterator[tuple[str, dict[str, Any]]]:
    """What each stage's key is the hash of."""
    for i, stage in enumerate(STAGES):
        yield stage, key_parts(stage, spec, {s: run.done[s] for s in STAGES[:i]})


def _seconds(operation: Callable[[], None]) -> float:
    started = time.perf_counter()
    operation()
    return time.perf_counter() - started


def _commands(project: Path, names: Sequence[str]) -> dict[str, Callable[[], float]]:
    """Whole commands, as a person waits for them; CPU seconds, because they take long enough to be disturbed."""
    lines = {name: [sys.executable, "-m", "flows", *COMMANDS[name]] for name in names}
    return {name: lambda line=line: timed(line, project).cpu_seconds for name, line in lines.items()}  # type: ignore[misc]
