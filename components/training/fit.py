"""The job that trains."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from components.files import write_json
from components.spec.parse import parse_spec
from components.spec.schema import Spec
from components.training import journal
from components.training.allocator import keep_freed_memory
from components.training.checkpoint import Checkpoints
from components.training.determinism import deterministic
from components.training.inputs import Inputs
from components.training.lengths import Lengths
from components.training.loop import Job, Loop
from components.training.session import Session, gather
from components.training.system import build_system


def train(session: Session, config: dict[str, Any]) -> dict[str, Any]:
    """Train a model into `config["directory"]`: checkpoints/, metrics.jsonl, summary.json. Resumes from the latest checkpoint there.

    With `trainer.refit` a second training follows, in refit/: anew, on training and validation data together, for as many steps as were best in
    the first (early stopping's second phase, notes 002 L2031; Goodfellow et al. 2016, algorithm 7.2).

    Args:
        session: this worker's place in the group.
        config: `spec` (plain), `data` (prepared directory), `directory`; `origin` (plain data for the checkpoints' meta.json), if any.

    Returns:
        The summary, on every rank; `checkpoint` is the one to use, relative to the directory.
    """
    spec, data, directory = parse_spec(config["spec"]), Path(config["data"]), Path(config["directory"])
    origin = config.get("origin", {})
    if session.device.type == "cpu":
        keep_freed_memory()
    with deterministic(wanted=spec.performance.deterministic):
        summary, planned = _fit(session, spec, data, directory, origin)
        best = "checkpoints"
        if spec.trainer.refit:
            summary["refit"], _ = _fit(session, spec, data, directory / "refit", origin, (summary["best"]["step"], planned))
            best = "refit/checkpoints"
    gather(session, None)  # rank 0 has written its last checkpoint
    chosen = Checkpoints(directory / best).path("best")
    assert chosen is not None
    summary["checkpoint"] = str(chosen.relative_to(directory))
    if session.rank == 0:
        write_json(directory / "summary.json", summary)
    return summary


def _fit(
    session: Session, spec: Spec, data: Path, directory: Path, origin: dict[str, Any], refit: tuple[int, Lengths] | None = None
) -> tuple[dict[str, Any], Lengths]:
    """One training; with `refit` on all data but the test split's, for so many steps of the same schedule, with nothing left to judge by."""
    alone = refit is None
    training = Inputs(data, "train" if alone else ("train", "validation"), spec, session)
    validation = Inputs(data, "validation", spec, session) if alone else None
    model, task = build_system(spec, training.dataset.card, session)
    checkpoints = Checkpoints(directory / "checkpoints", spec.trainer.keep_best, spec.trainer.monitor.mode)
    loop = Loop(session, spec, Job(task, model, training, validation, refit), checkpoints, origin)
    path = directory / "metrics.jsonl"
    with ExitStack() as open_things:
        open_things.callback(training.close)
        if session.rank == 0:
            journal.rewind(path, loop.progress.step)
            loop.journal = open_things.enter_context(closing(journal.Journal(path)))
        return loop.run(), loop.lengths
