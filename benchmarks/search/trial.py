"""Seconds a trial, ours against a bare Ray Tune function: the same training, the same values, one trial after the other, in turns."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.project import copy_project, timed
from components.files import read_json, write_json
from components.training.journal import read

REPEATS = 3
TRIALS = 5
EPOCHS = 60  # of LeNet-5 on digits: some five seconds, where a search's trials usually take minutes
OURS, BARE = "modelyard tune", "bare Ray Tune function"
_RATES = [0.001 * (i + 1) for i in range(TRIALS)]
_EXPERIMENT = [f"trainer.duration={EPOCHS}ep", "cluster=inline", "tracking=disabled"]


def measure(repeats: int = REPEATS) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return rows and notes: medians over the trials after the first (which imports torch), and the ratio within each turn."""
    found: dict[str, list[dict[str, float]]] = {OURS: [], BARE: []}
    with tempfile.TemporaryDirectory() as folder:
        project = copy_project(Path(folder) / "project")
        timed([sys.executable, "-m", "flows", "run", "cluster=inline", "debug=fast", "tracking=disabled"], project)  # prepares data, writes byte code
        for turn in range(repeats):
            found[BARE].append(_bare(project))
            found[OURS].append(_ours(project, turn))
    ratios = [ours["trial"] / bare["trial"] for ours, bare in zip(found[OURS], found[BARE], strict=True)]
    rows = [
        {"search": name, **{part: statistics.median(turn[part] for turn in turns) for part in turns[0]}, "ratio a trial": ratio}
        for (name, turns), ratio in zip(found.items(), (statistics.median(ratios), 1.0), strict=True)
    ]
    return rows, {"trials": TRIALS, "epochs": EPOCHS, "ratios": ratios, "turns": found}


def _ours(project: Path, turn: int) -> dict[str, float]:
    listed = "tune.configurations=[" + ",".join(f"{{optimizer.lr: {rate}}}" for rate in _RATES) + "]"
    command = [sys.executable, "-m", "flows", "tune", "tune=list", listed, "tune.at_once=1", *_EXPERIMENT, f"store=store-{turn}", "--json"]
    taken = timed(command, project)
    directory = Path(json.loads(taken.output.splitlines()[-1])["directory"])
    return _figures([event["at"] for event in read(directory / "search.jsonl") if event["kind"] == "end"], taken.wall_seconds)


def _bare(project: Path) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "told.json"
        order = {"rates": _RATES, "overrides": _EXPERIMENT, "data": str(project / "data" / "prepared" / "digits"), "told": str(told)}
        write_json(Path(folder) / "order.json", order)
        taken = timed([sys.executable, "-m", "benchmarks.search.bare", str(Path(folder) / "order.json")], project)
        ends = read_json(told)
    return _figures(ends, taken.wall_seconds)


def _figures(ends: list[float], whole: float) -> dict[str, float]:
    """From one trial's end to the next one's: what is between two trials is a part of what a trial costs."""
    return {"trial": statistics.median(after - before for before, after in pairwise(sorted(ends))), "whole": whole}
