"""Reading an export back, where this package is installed: its model and task, rebuilt from model.json."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import nn

from components.data.card import Card, load_card
from components.errors import UserError
from components.export.answers import Eager, drawn
from components.files import read_json, sha256_file
from components.spec.parse import parse
from components.spec.schema import AugmentSpec, Target
from components.spec.targets import build
from components.tasks.base import Task

FORMAT = 1
DESCRIPTION, WEIGHTS, PROGRAM, EXAMPLE, MODEL_CARD = "model.json", "model.safetensors", "program.pt2", "example.npz", "MODEL_CARD.md"
_MEND = "export the model again"


@dataclass(frozen=True)
class System:
    """What of a specification makes a trained model: the rest was for training it."""

    model: Target
    task: Target
    loss: Target
    augment: AugmentSpec  # `always` alone


def load(directory: Path) -> tuple[nn.Module, Task]:
    """Rebuild an exported model, in evaluation mode on the CPU, and its task. What a task took from an upstream run, it does without.

    Raises:
        UserError: no export, one of another format, or a file that is not what was written.
    """
    described = verify(directory)
    system, card = parse(System, described["system"], ""), load_card(directory)
    inputs = card.columns.get("inputs")
    model: nn.Module = build(system.model, input_shape=None if inputs is None else inputs.shape)
    model.load_state_dict(load_file(directory / WEIGHTS), strict=True)
    task: Task = build(system.task, loss=build(system.loss), card=card, upstream={})
    return model.eval(), task


def load_eager(directory: Path) -> Eager:
    """Rebuild what `program.pt2` does, raw columns to answers, in Python: for models that have no program, and to compare; raises as `load`."""
    model, task = load(directory)
    return eager_of(model, task, parse(System, read_json(directory / DESCRIPTION)["system"], ""), load_card(directory))


def eager_of(model: nn.Module, task: Task, system: System, card: Card) -> Eager:
    """Put a model between its transforms and its task's decoding."""
    transforms = [] if drawn(task, 1) else [build(target, card=card) for target in system.augment.always]  # noise needs no transform
    return Eager(model, task, transforms).eval()


def verify(directory: Path) -> dict[str, Any]:
    """Return model.json after hashing every file that it names.

    Raises:
        UserError: see `load`.
    """
    try:
        described: dict[str, Any] = read_json(directory / DESCRIPTION)
        found, files = described.get("format"), dict(described["files"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"this is no exported model: {error}", received=directory, expected=f"a directory with {DESCRIPTION}", mend=_MEND) from error
    if found != FORMAT:
        raise UserError("the exported model has another format", received=found, expected=FORMAT, mend=_MEND)
    for name, sha256 in files.items():
        path = directory / name
        if not path.is_file() or sha256_file(path) != sha256:
            raise UserError(f"the export's {name} is not what was written", received=path, expected=f"sha256 {str(sha256)[:16]}...", mend=_MEND)
    return described
