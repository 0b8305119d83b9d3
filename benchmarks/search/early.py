"""What stopping early is worth: ASHA against random search over the same draws, on digits and on a part of Fashion-MNIST, three seeds."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.project import copy_project, timed

SEEDS = (0, 1, 2)
TRIALS = 16
_SPACE = ["tune.space.optimizer.lr.log_uniform=[1e-5,1e-1]", "tune.space.optimizer.weight_decay={log_uniform: [1e-4, 1e-1]}"]
_TASKS = {
    "digits": ["trainer.duration=20ep"],
    # Half an epoch of training, and a part of its validation rows.
    "fashion_mnist": ["data=fashion_mnist", "trainer.duration=400st", "trainer.validate_every=20st", "evaluate.max_batches=4"],
}


def measure() -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return rows and notes: for each task and seed the trials an hour of both, their ratio, and the best value that each found."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        project = copy_project(Path(folder) / "project")
        for task, overrides in _TASKS.items():
            timed([sys.executable, "-m", "flows", "run", "cluster=inline", "debug=fast", "tracking=disabled", *overrides[:1]], project)
            for seed in SEEDS:
                random, asha = (_search(project, algorithm, overrides, seed) for algorithm in ("random", "asha"))
                ratio = asha["hourly"] / random["hourly"]
                rows.append({"task": task, "seed": seed, "random/h": random["hourly"], "ASHA/h": asha["hourly"], "ratio": ratio})
                rows[-1] |= {"random's best loss": random["best"], "ASHA's": asha["best"]}
    ratios = {task: statistics.median(row["ratio"] for row in rows if row["task"] == task) for task in _TASKS}
    return rows, {"trials": TRIALS, "median ratio": ratios, "space": _SPACE, "tasks": _TASKS}


def _search(project: Path, algorithm: str, overrides: list[str], seed: int) -> dict[str, float]:
    """Search in a store of its own, so that neither finds the other's trainings; the time is the trials', without the cluster's start."""
    options = [f"tune={algorithm}", f"tune.budget.trials={TRIALS}", f"tune.seed={seed}", f"seed={seed}", "tune.warm_start=false", *_SPACE]
    where = ["cluster=inline", "tracking=disabled", f"store=store-{algorithm}-{seed}"]
    taken = timed([sys.executable, "-m", "flows", "tune", *options, *overrides, *where, "--json"], project)
    found = json.loads(taken.output.splitlines()[-1])
    seconds = json.loads((Path(found["directory"]) / "trials.json").read_text())["wall_seconds"]
    return {"hourly": TRIALS / seconds * 3600.0, "best": found["value"]}
