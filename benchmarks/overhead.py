"""Seconds from the command to the first optimizer step and to the end: modelyard's whole pipeline against a bare Ray Train script.

    python -m benchmarks.overhead

Both cold: new processes, nothing prepared (ours also fetches, prepares, checks, evaluates, tracks and draws the report). Runs alternate; medians.
Ours runs in a scratch copy of the project, on a Prefect database that exists (Prefect makes it once a machine, some eight seconds).
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.project import ROOT, copy_project
from benchmarks.record import publish

REPEATS = 3
EPOCHS = 40


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "prefect"
        _ours(Path(folder) / "first", home, epochs=1)  # makes Prefect's database
        runs: dict[str, list[dict[str, float]]] = {"modelyard": [], "bare Ray Train": []}
        for i in range(REPEATS):
            runs["bare Ray Train"].append(_bare())
            runs["modelyard"].append(_ours(Path(folder) / str(i), home, EPOCHS))
    medians = {name: {k: statistics.median(r[k] for r in found) for k in found[0]} for name, found in runs.items()}
    bare, ours = medians["bare Ray Train"], medians["modelyard"]
    rows: list[dict[str, Any]] = [
        {"seconds to": what, **{name: medians[name][what] for name in medians}, "ratio": ours[what] / bare[what]} for what in ("first step", "end")
    ]
    breakdown = {k: round(v, 2) for k, v in ours.items() if k not in ("first step", "end")}
    publish("overhead", rows, {"breakdown of modelyard (s)": breakdown, "epochs": EPOCHS, "repeats": REPEATS, "runs": runs})


def _bare() -> dict[str, float]:
    started = time.time()
    command = [sys.executable, "-m", "benchmarks.bare_ray", str(EPOCHS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    stamps = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in done.stdout.splitlines() if line.startswith(("first", "end"))}
    return {"first step": stamps["first step"] - started, "end": time.time() - started}


def _ours(project: Path, home: Path, epochs: int) -> dict[str, float]:
    copy_project(project)
    environment = {**os.environ, "PREFECT_HOME": str(home)}
    command = [sys.executable, "-m", "flows", "run", f"trainer.duration={epochs}ep", "trainer.log_every_steps=1", "--json"]
    started = time.time()
    process = subprocess.Popen(command, cwd=project, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    first_step = _first_step(project, process) - started
    output, _ = process.communicate()
    end = time.time() - started
    stages = json.loads(output.splitlines()[-1])["stages"]
    return {"first step": first_step, "end": end, **{name: stage["seconds"] for name, stage in stages.items()}}


def _first_step(project: Path, process: subprocess.Popen[str]) -> float:
    """Wait for the journal's first step record."""
    while process.poll() is None:
        for journal in (project / "store" / "stages" / "train").glob("*/metrics.jsonl"):
            if '"kind": "step"' in journal.read_text():
                return time.time()
        time.sleep(0.01)
    raise RuntimeError(f"the run ended with code {process.returncode} before its first step")


if __name__ == "__main__":
    main()
