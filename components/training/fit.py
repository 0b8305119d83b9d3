"""The job that trains."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from components.files import write_json
from components.spec.parse import parse_spec
from components.training.allocator import keep_freed_memory
from components.training.checkpoint import Checkpoints
from components.training.deadline import Limited
from components.training.determinism import deterministic
from components.training.gradient import fit
from components.training.ownership import Ownership
from components.training.place import Place
from components.training.procedure import carry_out
from components.training.session import Session, gather


def train(session: Session, config: dict[str, Any]) -> dict[str, Any]:
    """Train a model into `config["directory"]`: checkpoints/, metrics.jsonl, summary.json. Resumes from the latest checkpoint there.

    With `trainer.refit` a second training follows, in refit/: anew, on training and validation data together, for as many steps as were best in
    the first (early stopping's second phase, notes 002 L2031; Goodfellow et al. 2016, algorithm 7.2).

    Args:
        session: this worker's place in the group.
        config: `spec` (plain), `data` (prepared directory), `directory`; `content_sha256` (the data's), `origin` (plain data for the
            checkpoints' meta.json) and `upstream` {name: checkpoint directory}, if any; `owner` (components/training/ownership.py)
            where another attempt may take over; `until` (seconds since 1970) where its time is limited.

    Returns:
        The summary, on every rank; `checkpoint` is the one to use, relative to the directory.
    """
    spec, data, directory = parse_spec(config["spec"]), Path(config["data"]), Path(config["directory"])
    if config.get("until") is not None:
        session = Limited(session, config["until"])
    owner, version = Ownership.of(config.get("owner")), config.get("content_sha256")
    place = Place(session, data, directory, config.get("origin", {}), config.get("upstream", {}), owner, version)
    if session.device.type == "cpu":
        keep_freed_memory()
    best = "checkpoints"
    with deterministic(wanted=spec.performance.deterministic):
        if spec.procedure is not None:
            summary = carry_out(spec, place)
        else:
            summary, planned = fit(spec, place)
            if spec.trainer.refit:
                summary["refit"], _ = fit(spec, replace(place, directory=directory / "refit"), (summary["best"]["step"], planned))
                best = "refit/checkpoints"
    gather(session, None)  # rank 0 has written its last checkpoint
    chosen = Checkpoints(directory / best).path("best")
    assert chosen is not None
    summary["checkpoint"] = str(chosen.relative_to(directory))
    if session.rank == 0:
        write_json(directory / "summary.json", summary)
    return summary
