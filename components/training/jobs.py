"""The jobs that a worker group can run: top-level functions `(session, config: plain dict) -> plain dict`, the same on every backend."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from components.data.card import Card
from components.files import atomic_path, write_json
from components.metrics.select import select_samples
from components.spec.parse import parse_spec
from components.spec.schema import Spec
from components.spec.targets import build
from components.tasks.base import Task
from components.training import checkpoint, journal
from components.training.checkpoint import Checkpoints
from components.training.evaluator import evaluate as evaluate_split
from components.training.inputs import Inputs
from components.training.loop import Loop
from components.training.session import Session, gather


def train(session: Session, config: dict[str, Any]) -> dict[str, Any]:
    """Train a model into `config["directory"]`: checkpoints/, metrics.jsonl, summary.json. Resumes from the last checkpoint there.

    Args:
        session: this worker's place in the group.
        config: `spec` (plain), `data` (prepared directory), `directory`.

    Returns:
        The summary, on every rank.
    """
    spec, data, directory = parse_spec(config["spec"]), Path(config["data"]), Path(config["directory"])
    training = Inputs(data, "train", spec, session)
    validation = Inputs(data, "validation", spec, session)
    model, task = build_system(spec, training.dataset.card, session)
    checkpoints = Checkpoints(directory / "checkpoints")
    record = None
    loop = Loop(session, spec, task, model, training, validation, checkpoints, None)
    loop.resume()
    if session.rank == 0:
        journal.rewind(directory / "metrics.jsonl", loop.progress.step)
        record = loop.journal = journal.Journal(directory / "metrics.jsonl")
    try:
        summary = loop.run()
    finally:
        if record is not None:
            record.close()
    if session.rank == 0:
        write_json(directory / "summary.json", summary)
    return summary


def evaluate(session: Session, config: dict[str, Any]) -> dict[str, Any]:
    """Evaluate a checkpoint into `config["directory"]`: metrics.json, samples.npz (of the last split).

    Args:
        session: this worker's place in the group.
        config: `spec` (plain), `data` (prepared directory), `checkpoint` (directory), `directory`.

    Returns:
        `{split: metrics}`, on every rank.
    """
    spec, data, directory = parse_spec(config["spec"]), Path(config["data"]), Path(config["directory"])
    checkpoint.verify(Path(config["checkpoint"]))
    results: dict[str, Any] = {}
    for split in spec.evaluate.splits:
        inputs = Inputs(data, split, spec, session)
        model, task = build_system(spec, inputs.dataset.card, session)
        checkpoint.load_weights(Path(config["checkpoint"]), model)
        parts: list[dict[str, Tensor]] = []
        results[split] = evaluate_split(session, task, task.split(model), inputs, spec.evaluate.batch_size, spec.evaluate.max_batches, parts)
    everything = gather(session, parts)
    if session.rank == 0:
        _write_samples(directory / "samples.npz", [part for rank in everything for part in rank], inputs)
        write_json(directory / "metrics.json", results)
    return results


JOBS: dict[str, Callable[[Session, dict[str, Any]], dict[str, Any]]] = {"train": train, "evaluate": evaluate}


def build_system(spec: Spec, card: Card, session: Session) -> tuple[nn.Module, Task]:
    """Build the model, with weights drawn from the run's seed, on the session's device, and its task."""
    torch.manual_seed(spec.seed)
    model: nn.Module = build(spec.model).to(session.device)
    task: Task = build(spec.task, loss=build(spec.loss), card=card)
    return model, task


def _write_samples(path: Path, parts: list[dict[str, Tensor]], inputs: Inputs) -> None:
    """Keep what the report shows: a chosen few samples with their raw inputs."""
    columns = {k: torch.cat([p[k] for p in parts]) for k in parts[0]}
    order = columns["sample_id"].argsort(stable=True)
    columns = {k: v[order] for k, v in columns.items()}
    chosen = select_samples(columns["sample_id"], columns["losses"], columns["predictions"] == columns["targets"])
    kept = {k: v[torch.searchsorted(columns["sample_id"], chosen)].numpy() for k, v in columns.items()}
    kept["inputs"] = inputs.dataset.fetch(kept["sample_id"])["inputs"].numpy()
    with atomic_path(path) as temporary, open(temporary, "wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **kept)
