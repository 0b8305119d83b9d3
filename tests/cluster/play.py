"""Playing a case: hosts, a cluster, the command on the head, the fault, and what must be the same in the end."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.files import read_json
from components.training import journal
from tests.cluster.cases import COMMAND, EPOCHS, ROWS, STEPS, Case, Stage
from tests.cluster.hosts import Host, Network
from tests.cluster.nodes import Cluster
from tests.conftest import Workspace, copy_project
from tests.processes import until

TIMEOUT_SECONDS = 1800.0
_POLL_SECONDS = 0.25
_SAME = 1e-5  # relative: by how much figures may differ where other numbers of workers have added them up


@dataclass
class Outcome:
    case: Case
    code: int | None = None
    seconds: float = 0.0
    recovered: float | None = None  # seconds from the fault to the first step that had not been made before it
    again: int = 0  # steps that were made before the fault and had to be made again
    samples: int = 0  # as the last checkpoint counts them
    metrics: dict[str, Any] = field(default_factory=dict)
    steps: list[dict[str, Any]] = field(default_factory=list)  # the journal's records of steps
    complaints: list[str] = field(default_factory=list)

    @property
    def accuracy(self) -> float:
        return float(self.metrics.get("test", {}).get("accuracy", math.nan))


@contextmanager
def workspace() -> Iterator[tuple[Path, Workspace]]:
    """Make a folder with a short name (Ray's sockets) and a copy of the project in it; both are gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="mc-", dir="/tmp"))
    try:
        yield folder, copy_project(folder / "project", {"PREFECT_HOME": str(folder / "prefect"), "PREFECT_API_URL": ""})
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def play(case: Case, folder: Path, space: Workspace, reference: Outcome | None, keep: Path | None = None) -> Outcome:
    """Play one case.

    Args:
        folder: of this case's nodes, absent yet.
        space: the copy of the project.
        reference: of the undisturbed run; None when this is it.
        keep: where the logs of a case with complaints are copied to.
    """
    outcome = Outcome(case)
    folder.mkdir()
    network = Network(["head", "a", "b", "c"])
    started = time.monotonic()
    with network as (head, *hosts):
        cluster = Cluster(folder, space.root, space.env)
        cluster.start(head)
        cluster.wait_for([head])
        for host in hosts[: case.begin]:
            cluster.join(host)
        cluster.wait_for([head, *hosts[: case.begin]])
        store = space.root / "store"
        for stage in ("train", "evaluate", "report"):  # of the case before
            shutil.rmtree(store / "stages" / stage, ignore_errors=True)
        command = [sys.executable, "-m", "flows", *COMMAND, *case.overrides, f"cluster.address={cluster.address}", "--json"]
        process = head.start(command, cluster.env, space.root, folder / "run.log")
        if case.fault is not None:
            _disturb(outcome, cluster, process, store, hosts)
        try:
            outcome.code = process.wait(TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            outcome.complaints.append("hung")
    outcome.seconds = time.monotonic() - started
    outcome.complaints += _verdict(outcome, folder, reference)
    if left := network.left() + [" ".join(p.cmdline())[:100] for p in space.processes()]:
        outcome.complaints.append(f"left: {left}")
    if outcome.complaints and keep is not None:
        _keep_logs(folder, keep)
    return outcome


def _disturb(outcome: Outcome, cluster: Cluster, process: subprocess.Popen[bytes], store: Path, hosts: list[Host]) -> None:
    """Wait for the step, do it, and measure until a step is made that had not been made before."""
    case = outcome.case
    until(lambda: _seen(store)[1] >= case.at_step or process.poll() is not None, TIMEOUT_SECONDS, _POLL_SECONDS)
    begun = hosts[: case.begin]
    writers = [host for host in begun if host.writes("metrics.jsonl")]
    trainers = [host for host in begun if host.runs("RayTrainWorker")]
    if process.poll() is not None or len(writers) != 1:
        outcome.complaints.append(f"the fault did not come to pass: step {_seen(store)[1]}, writers {[h.name for h in writers]}")
        return
    others = [host for host in trainers if host is not writers[0]]
    assert case.fault is not None
    before, made = _seen(store)
    fault = time.monotonic()
    case.fault(Stage(cluster, writers[0], others, hosts[min(case.begin, len(hosts) - 1)]))

    def recovered() -> bool:
        nonlocal made
        starts, last = _seen(store)
        if len(starts) <= len(before):  # the group that there was: some steps are made after the fault
            made = max(made, last)
            return process.poll() is not None
        outcome.again = max(0, made - starts[-1])
        return last > made or process.poll() is not None

    until(recovered, TIMEOUT_SECONDS, _POLL_SECONDS)
    outcome.recovered = time.monotonic() - fault


def _seen(store: Path) -> tuple[list[int], int]:
    """The steps from which groups have begun, each of which notes its start in the journal, and the last step that was made."""
    found = list((store / "stages" / "train").glob("*/metrics.jsonl"))
    records = journal.read(found[0]) if found else []
    starts = [r["step"] for r in records if r["kind"] == "event" and r["name"] == "start"]
    return starts, max((r["step"] for r in records if r["kind"] == "step"), default=0)


def _verdict(outcome: Outcome, folder: Path, reference: Outcome | None) -> Iterator[str]:
    """Say what is wrong."""
    lines = (folder / "run.log").read_text(errors="replace").splitlines()
    if outcome.code != 0:
        yield f"the run ended with {outcome.code}: {' / '.join(lines[-4:])[-600:]}"
        return
    result = json.loads(next(line for line in reversed(lines) if line.startswith("{")))
    train = Path(result["stages"]["train"]["directory"])
    outcome.metrics = result["metrics"]
    outcome.steps = [r for r in journal.read(train / "metrics.jsonl") if r["kind"] == "step"]
    steps = [r["step"] for r in outcome.steps]
    if steps != list(range(1, STEPS + 1)):
        yield f"the journal's steps are not each of {STEPS} once: {len(steps)}, {len(set(steps))} different"
    latest = read_json(train / "checkpoints" / (train / "checkpoints" / "latest").read_text().strip() / "meta.json")
    outcome.samples = latest["epoch"] * ROWS + latest["samples"]
    if (latest["step"], latest["epoch"], latest["samples"]) != (STEPS, EPOCHS, 0):
        yield f"the last checkpoint counts {latest['step']} steps, {latest['epoch']} epochs, {latest['samples']} samples"
    if latest["world"] not in outcome.case.worlds:
        yield f"{latest['world']} workers in the end instead of {outcome.case.worlds}"
    if reference is not None:
        yield from _compare(outcome, reference)


def _compare(outcome: Outcome, reference: Outcome) -> Iterator[str]:
    """Each step's loss is the undisturbed run's: a sample more, less or twice in a step would show in it."""
    for now, then in zip(outcome.steps, reference.steps, strict=False):
        if not math.isclose(now["loss"], then["loss"], rel_tol=_SAME):
            yield f"step {now['step']} has loss {now['loss']} instead of {then['loss']}"
            return
    for split, figures in reference.metrics.items():
        for name, value in figures.items():
            if not math.isclose(outcome.metrics[split][name], value, rel_tol=_SAME):
                yield f"{split}/{name} is {outcome.metrics[split][name]} instead of {value}"


def largest_difference(outcome: Outcome, reference: Outcome) -> float:
    """Return by how much the loss of a step differs at most, relative to the undisturbed run's."""
    pairs = zip(outcome.steps, reference.steps, strict=True)
    return max(abs(now["loss"] - then["loss"]) / then["loss"] for now, then in pairs)


def _keep_logs(folder: Path, keep: Path) -> None:
    """Copy what the nodes, the driver and the group have said; Ray's sockets stay."""
    mailboxes = folder.parent / "project" / "store" / "mailboxes"
    for path in [*folder.glob("*.log"), *folder.glob("*/session_2*/logs/**/*"), *mailboxes.glob("*/*.log")]:
        if path.is_file():
            copy = keep / folder.name / path.relative_to(folder.parent)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
