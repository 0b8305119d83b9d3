"""The tune stage: a search by Ray Tune, and what is kept of it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.errors import RunError
from components.files import write_json, write_text
from components.reporting.page import render
from components.training.journal import read
from flows.adapters import tune
from flows.search.best import experiment_file
from flows.search.results import leader, trials
from flows.search.room import Room
from flows.search.summary import summarize
from flows.search.tables import write_curves, write_trials
from flows.search.values import overrides_of
from flows.search.warm import TRIALS, known
from flows.upstream import NEEDED

if TYPE_CHECKING:
    from flows.run import PipelineRun
    from flows.store import Partial

EXPERIMENT = "best.yaml"
PAGE = "search.html"


def search(run: PipelineRun, partial: Partial) -> dict[str, Any]:
    """Search, and write into the stage: trials.json, trials.csv, curves.csv, best.yaml, search.html, and the journal of all events.

    Returns:
        The stage's outputs: `values` and `overrides` of the best trial, its `value` of `metric`, the number of `trials`.

    Raises:
        UserError: the cluster holds not one trial, or the first one refused its configuration.
        RunError: no trial came to a value.
    """
    spec, directory = run.spec, partial.directory
    assert spec.tune is not None
    monitor = spec.trainer.monitor
    earlier = known(run.store, spec, run.done["data"].outputs["content_sha256"])
    if earlier:
        run.announce(f"tune: {len(earlier)} trials of earlier searches are known")
    population = run.store.root / "population" / directory.name.removesuffix(".partial")
    asked = tune.Asked(run.root, spec, run.overrides, run.command, run.run_id, NEEDED, population, earlier, run.done["data"].key)
    room = Room(run.store, spec.tune.disk_gib, monitor.mode, run.run_id)
    told = _Told(run, monitor.metric)

    def on_event(event: dict[str, Any]) -> None:
        told.event(event)
        room.event(event)

    tune.search(directory, asked, on_event)
    rows = trials(read(directory / tune.JOURNAL))
    best = leader(rows, monitor.mode)
    if best is None:
        raise RunError(f"no trial came to a value of {monitor.metric}:\n" + "\n".join(f"  {row.name}: {row.reason or row.status}" for row in rows))
    found = summarize(spec.tune, monitor.metric, monitor.mode, rows, spec.tune.workers * spec.cluster.gpus_per_worker)
    write_json(directory / TRIALS, found)
    write_trials(rows, monitor.mode, directory / "trials.csv")
    write_curves(rows, directory / "curves.csv")
    overrides = best.overrides or overrides_of(best.values)
    value = best.best(monitor.mode)
    told_of = f"{monitor.metric} {value} by `{run.command}`"
    write_text(directory / EXPERIMENT, experiment_file(run.root, spec.experiment, run.overrides, overrides, told_of))
    _draw(run, directory, found)
    _tidy(directory, population, overrides)
    return {"values": best.values, "overrides": overrides, "metric": monitor.metric, "value": value, "trials": len(rows)}


class _Told:
    """One line for the person who watches, whenever a trial ends."""

    def __init__(self, run: PipelineRun, metric: str) -> None:
        self._announce, self._metric = run.announce, metric
        self._last: dict[str, Any] = {}
        self._names: dict[str, int] = {}

    def event(self, event: dict[str, Any]) -> None:
        number = self._names.setdefault(event["trial"], len(self._names) + 1)
        if event["kind"] == "result":
            self._last[event["trial"]] = event
        if event["kind"] not in ("end", "error"):
            return
        last = self._last.get(event["trial"])
        outcome = f"failed: {event['reason']}" if event["kind"] == "error" else "finished" if event.get("complete") else "ended"
        reached = "" if last is None else f" at {last['percent']:.0f} %, {self._metric} {last['value']:.4g}"
        values = " ".join(f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}" for key, value in event["values"].items())
        self._announce(f"tune: trial {number} {outcome}{reached} ({values})")


def _draw(run: PipelineRun, directory: Path, found: dict[str, Any]) -> None:
    """The search's own page, for who asks for the search alone."""
    folder = directory / "run"
    shutil.rmtree(folder, ignore_errors=True)
    write_json(folder / "run.json", run.told("finished"))
    write_json(folder / TRIALS, found)
    render(folder, directory / PAGE)
    shutil.rmtree(folder)


def _tidy(directory: Path, population: Path, overrides: list[str]) -> None:
    """Let go of Tune's state, and of all checkpoints that were handed on but the one that the best trial goes on from."""
    for path in (directory / tune.STATE, directory / tune.FAILURES, directory / "search.log", directory / "order.json", directory / "spent.json"):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for checkpoint in population.glob("*/*"):
        if not any(str(checkpoint) in override for override in overrides):
            shutil.rmtree(checkpoint)
    for trial in population.glob("*"):
        if not any(trial.iterdir()):
            trial.rmdir()
    if population.is_dir() and not any(population.iterdir()):
        population.rmdir()
