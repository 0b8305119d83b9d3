"""Writing an export: a trained model as files that outlive this package.

model.safetensors   the weights, by plain names
program.pt2         raw columns to answers, by torch.export, where the model allows and it was verified; torch alone loads it
example.npz         a few raw rows (`input.<column>`) and what the model answers (`output.<name>`)
card.json           the data version that it was trained on (components/data/card.py)
MODEL_CARD.md       for people
model.json          for machines: what it is, inputs, outputs, transforms, hashes of all other files; written last
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from components.data.card import Card, write_card
from components.data.dataset import ShardDataset
from components.errors import RunError, UserError
from components.export.answers import Eager, drawn, needed
from components.export.load import DESCRIPTION, EXAMPLE, FORMAT, MODEL_CARD, PROGRAM, WEIGHTS, System, eager_of, load_eager
from components.export.model_card import Facts, model_card
from components.export.program import ABSOLUTE, OFFSETS, RELATIVE, write_program
from components.export.rows import open_unseen, take_rows
from components.files import atomic_path, sha256_file, write_json, write_text
from components.spec.parse import to_plain
from components.spec.schema import Spec
from components.tasks.base import Batch, Task
from components.training import checkpoint
from components.training.inputs import Inputs
from components.training.session import LocalSession
from components.training.system import build_system

EXAMPLE_ROWS = 4
_VERIFIED_ROWS = 64


@dataclass(frozen=True)
class ExportRequest:
    """What is exported.

    Args:
        spec: of the run.
        data: the prepared data set.
        checkpoint: directory, verified before use.
        directory: an existing empty one.
        upstream: name -> checkpoint directory of a run that this one builds on.
        metrics: the evaluate stage's metrics.json.
        check: the check stage's check.json.
        origin: plain facts for the card: run_id, git, environment, the gate's verdict.
    """

    spec: Spec
    data: Path
    checkpoint: Path
    directory: Path
    upstream: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    check: Mapping[str, Any] = field(default_factory=dict)
    origin: Mapping[str, Any] = field(default_factory=dict)


def export(request: ExportRequest) -> dict[str, Any]:
    """Write an export and return the content of its model.json.

    Raises:
        UserError: the directory is not there or not empty, or the checkpoint is damaged or of another model.
        RunError: what was written, loaded again, does not answer as the model does.
    """
    _require_empty(request.directory)
    dataset = open_unseen(request.data)
    model, task, checkpoint_sha256 = _trained(request, dataset.card)
    system = _system(request.spec)
    eager = eager_of(model, task, system, dataset.card)
    batches = _batches(eager, task, dataset)
    _require_evaluated_answers(eager, task, request, dataset.split)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, request.directory / WEIGHTS)
    write_card(request.directory, dataset.card)
    program = write_program(request.directory / PROGRAM, eager, batches)
    outputs = _write_example(request.directory / EXAMPLE, eager, batches[0])
    described = _describe(request, system, dataset.card, model, program, batches[0], outputs)
    described["checkpoint_sha256"] = checkpoint_sha256
    facts = Facts(request.spec, dataset.card, described, request.metrics, request.check, request.origin, _kind(task))
    write_text(request.directory / MODEL_CARD, model_card(facts))
    described["files"] = {path.name: sha256_file(path) for path in sorted(request.directory.iterdir())}
    write_json(request.directory / DESCRIPTION, described)
    _require_equal(load_eager(request.directory), eager, batches)
    return described


def _require_empty(directory: Path) -> None:
    if not directory.is_dir() or any(directory.iterdir()):
        raise UserError("an export needs an empty directory", received=directory, expected="one that is there and holds nothing")


def _trained(request: ExportRequest, card: Card) -> tuple[nn.Module, Task, str]:
    """The model with the weights that were evaluated, its task, and these weights' sha256, by which the ledger knows them."""
    meta = checkpoint.verify(request.checkpoint)
    model, task = build_system(request.spec, card, LocalSession(), request.upstream)
    checkpoint.load_weights(request.checkpoint, model, meta["weights"])
    return model.eval(), task, meta["files"][meta["weights"]]["sha256"]


def _system(spec: Spec) -> System:
    return System(spec.model, spec.task, spec.loss, replace(spec.augment, train=()))


def _batches(eager: Eager, task: Task, dataset: ShardDataset) -> list[Batch]:
    """Real rows, spread over the split, with the columns that the model reads: a few (the example), one, and many."""

    def take(count: int) -> Batch:
        return {**take_rows(dataset, count), **drawn(task, count)}

    with torch.no_grad():
        columns = list(needed(eager, take(EXAMPLE_ROWS)))
    many = min(max(dataset.rows, EXAMPLE_ROWS + 1), _VERIFIED_ROWS)
    return [{name: value for name, value in take(count).items() if name in columns} for count in (EXAMPLE_ROWS, 1, many)]


@torch.no_grad()
def _require_evaluated_answers(eager: Eager, task: Task, request: ExportRequest, split: str) -> None:
    """What is exported must be what was evaluated: where `Task.predict` gives an output of the same name, it is the same."""
    inputs = Inputs(request.data, split, request.spec, LocalSession())
    raw = inputs.dataset.fetch(np.arange(min(inputs.rows, EXAMPLE_ROWS)))
    answers = eager({**raw, **drawn(task, len(raw["sample_id"]))})
    predicted = task.predict(task.split(eager.model), inputs.first(EXAMPLE_ROWS)[0])
    for name in answers.keys() & predicted.keys():
        if answers[name].shape == predicted[name].shape:
            _require_close(name, answers[name], predicted[name], "evaluation")


@torch.no_grad()
def _require_equal(found: Eager, wanted: Eager, batches: list[Batch]) -> None:
    for batch in batches:
        again, first = found(batch), wanted(batch)
        for name, value in first.items():
            _require_close(name, again[name], value, "model")


def _require_close(name: str, found: Tensor, wanted: Tensor, whose: str) -> None:
    if not torch.allclose(found.double(), wanted.double(), RELATIVE, ABSOLUTE, equal_nan=True):
        raise RunError(f"the export's {name} is not the {whose}'s: up to {float((found.double() - wanted.double()).abs().max()):.3g} apart")


@torch.no_grad()
def _write_example(path: Path, eager: Eager, batch: Batch) -> dict[str, Tensor]:
    outputs: dict[str, Tensor] = eager(batch)
    arrays = {**{f"input.{n}": v.numpy() for n, v in batch.items()}, **{f"output.{n}": v.numpy() for n, v in outputs.items()}}
    with atomic_path(path) as temporary, open(temporary, "wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)  # type: ignore[arg-type]
    return outputs


def _describe(
    request: ExportRequest, system: System, card: Card, model: nn.Module, program: dict[str, Any], batch: Batch, outputs: dict[str, Tensor]
) -> dict[str, Any]:
    """Return model.json but for the hashes."""
    spec = request.spec
    read = {name: to_plain(value) for name, value in card.statistics.items() if name in batch}
    return {
        "format": FORMAT,
        "name": spec.experiment,
        "description": spec.description,
        "system": to_plain(system),
        "statistics": read,  # of the training split, in the columns' raw units; what Standardize takes
        "classes": {name: list(column.classes) for name, column in card.columns.items() if column.classes is not None},
        "data": {"name": card.name, "licence": card.licence, "homepage": card.homepage, "content_sha256": card.content_sha256},
        "inputs": [_described(name, value) for name, value in batch.items()],
        "outputs": [_described(name, value) for name, value in outputs.items()],
        "program": program,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "origin": dict(request.origin),
        "torch": torch.__version__,
    }


def _described(name: str, value: Tensor) -> dict[str, Any]:
    """The first axis is the rows', or a ragged column's values of all rows."""
    first = "rows + 1" if name.endswith(OFFSETS) else "rows"
    return {"name": name, "dtype": str(value.dtype).removeprefix("torch."), "shape": [first, *value.shape[1:]]}


def _kind(task: Task) -> str:
    """The first sentence of the task's module: what it is about."""
    return (sys.modules[type(task).__module__].__doc__ or "").strip().splitlines()[0]
