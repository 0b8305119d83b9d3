"""What an attempt and a lost worker cost here: a real run on two Ray workers, one of which is killed, told from its own records."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from benchmarks.project import copy_project, environment
from benchmarks.scale.measure import Row, row
from components.errors import RunError
from components.training.journal import read
from flows.attempts import read_attempts

_PATIENCE_SECONDS = 600.0
RUN = ("run", "cluster=local", "tracking=disabled", "trainer.duration=60ep", "trainer.log_every_steps=1", "trainer.checkpoint_every=10st")
KILL_AT = 200  # steps


def recovery(folder: Path) -> Iterator[Row]:
    """Seconds from the stage's begin to its training, from a worker's death to the next start, and what the training journals."""
    project = copy_project(folder / "project")
    with open(folder / "run.log", "wb") as output:
        process = subprocess.Popen([sys.executable, "-m", "flows", *RUN], cwd=project, env=environment(folder), stdout=output, stderr=output)
    path = _wait(lambda: next((p for p in project.glob("store/stages/train/*.partial/metrics.jsonl") if _step(p) >= KILL_AT), None), process)
    killed = time.time()
    _worker(process.pid).kill()
    if process.wait(_PATIENCE_SECONDS) != 0:
        raise RunError((folder / "run.log").read_text(errors="replace")[-2000:])
    journal = path.parent.with_name(path.parent.name.removesuffix(".partial")) / path.name
    records = read(journal)
    starts = [r for r in records if r.get("name") == "start"]
    began = next(a for p in project.glob("store/runs/*") for a in read_attempts(p) if a.stage == "train")
    yield row("from the train stage's begin to the first start (2 Ray workers, begun while data was checked)", starts[0]["at"] - began.at, "s")
    yield row("from a worker's death to the training going on", starts[1]["at"] - killed, "s")
    yield row("steps made again", sum(r["steps"] for r in records if r.get("name") == "lost"), "steps")
    lines = journal.read_text().splitlines()
    for kind in ("step", "epoch"):
        sizes = [len(line) + 1 for line, record in zip(lines, records, strict=True) if record["kind"] == kind]
        yield row(f"a record of a{'n' if kind == 'epoch' else ''} {kind} in the journal", sum(sizes) / len(sizes), "bytes")


def _step(path: Path) -> int:
    return max((r["step"] for r in read(path)), default=0)


def _wait(found: Any, process: subprocess.Popen[bytes]) -> Any:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if (it := found()) is not None:
            return it
        time.sleep(0.1)
    raise RunError(f"the run ended, with {process.poll()}, before it could be disturbed")


def _worker(driver: int) -> psutil.Process:
    """One of the two that train: Ray renames them after what they run."""
    children = psutil.Process(driver).children(recursive=True)
    return next(p for p in children if "RayTrainWorker" in " ".join(p.cmdline()))
