"""The job that evaluates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from components.data.card import load_card
from components.files import atomic_path, write_json
from components.metrics.select import select_samples
from components.spec.parse import parse_spec
from components.tasks.base import Task
from components.training import checkpoint
from components.training.evaluator import evaluate as evaluate_split
from components.training.inputs import Inputs
from components.training.scores import SCORES, Columns, join_scores, score_part, write_scores
from components.training.session import Session, gather
from components.training.system import build_system


def evaluate(session: Session, config: dict[str, Any]) -> dict[str, Any]:
    """Evaluate a checkpoint into `config["directory"]`: metrics.json, scores.npz, and, of the last split, samples.npz and gallery.npz.

    Args:
        session: this worker's place in the group.
        config: `spec` (plain), `data` (prepared directory), `checkpoint` (directory), `directory`; `content_sha256` (the data's),
            `trained_on` (the directory of the card of the data that the model was trained on, where they are others) and
            `upstream` {name: checkpoint}, if any.

    Returns:
        `{split: metrics}`, on every rank.
    """
    spec, data, directory = parse_spec(config["spec"]), Path(config["data"]), Path(config["directory"])
    meta = checkpoint.verify(Path(config["checkpoint"]))
    trained_on = load_card(Path(config["trained_on"])) if "trained_on" in config else None
    results: dict[str, Any] = {}
    scores: dict[str, Columns] = {}
    for split in spec.evaluate.splits:
        inputs = Inputs(data, split, spec, session, config.get("content_sha256"), trained_on)
        model, task = build_system(spec, inputs.card, session, config.get("upstream"))
        checkpoint.load_weights(Path(config["checkpoint"]), model, meta["weights"])
        parts: list[dict[str, Tensor]] = []
        results[split] = evaluate_split(session, task, task.split(model), inputs, spec.evaluate, parts)
        every_rank = gather(session, [score_part(part) for part in parts])
        scores[split] = join_scores([part for rank in every_rank for part in rank])
    everything = gather(session, parts)
    if session.rank == 0:
        _write_samples(directory / "samples.npz", [part for rank in everything for part in rank], inputs)
        _write_gallery(directory / "gallery.npz", task, model, inputs, spec.evaluate.batch_size)
        write_scores(directory / SCORES, scores)
        write_json(directory / "metrics.json", results)
    return results


@torch.no_grad()
def _write_gallery(path: Path, task: Task, model: nn.Module, inputs: Inputs, batch_size: int) -> None:
    """Keep what the task shows beside single samples."""
    batch, draws = inputs.first(batch_size)
    shown = task.gallery(task.split(model.eval()), batch, draws)
    if shown:
        _write_arrays(path, {name: value.cpu().numpy() for name, value in shown.items()})


def _write_arrays(path: Path, arrays: dict[str, Any]) -> None:
    with atomic_path(path) as temporary, open(temporary, "wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)


def _write_samples(path: Path, parts: list[dict[str, Tensor]], inputs: Inputs) -> None:
    """Keep what the report shows: a chosen few samples with their raw inputs."""
    columns = {k: torch.cat([p[k] for p in parts]) for k in parts[0]}
    order = columns["sample_id"].argsort(stable=True)
    columns = {k: v[order] for k, v in columns.items()}
    chosen = select_samples(columns["sample_id"], columns["losses"], _right(columns))
    kept = {k: v[torch.searchsorted(columns["sample_id"], chosen)].numpy() for k, v in columns.items()}
    raw = inputs.dataset.fetch(kept["sample_id"])
    kept |= {k: v.numpy() for k, v in raw.items() if k not in kept}
    _write_arrays(path, kept)


def _right(columns: dict[str, Tensor]) -> Tensor:
    """Which samples were predicted right, all over; where nothing is predicted, none."""
    if not {"predictions", "targets"} <= columns.keys():
        return torch.zeros(len(columns["sample_id"]), dtype=torch.bool)
    same: Tensor = columns["predictions"] == columns["targets"]
    return same.reshape(len(same), -1).all(dim=1)
