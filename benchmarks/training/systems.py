"""The systems that the benchmarks train, and synthetic data of their shapes: the speed does not depend on what images show.

No torch here, so that the process that starts the contenders stays small.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from components.data.card import Column
from components.data.columns import Array, SourceData
from components.data.prepare import write_data_set
from components.spec.parse import parse_data

Plain = dict[str, Any]
_VALIDATION_ROWS = 64


@dataclass(frozen=True)
class System:
    """One model, its data and its recipe.

    Args:
        title: for the table.
        model: target.
        optimizer: target.
        batch_size: rows of a step.
        rows: of the training data, a multiple of the batch size, so that every step is equally long.
        shape: of one row's images (C, H, W), or (T + 1,) of its tokens.
        classes: of the images, or the vocabulary.
        transforms: of every batch, targets.
        clip_norm: of the gradients.
        carried: the state of a row is where the next one of its stream starts.
        precision: of the forward pass.
    """

    title: str
    model: Plain
    optimizer: Plain
    batch_size: int
    rows: int
    shape: tuple[int, ...]
    classes: int
    transforms: tuple[Plain, ...] = ()
    clip_norm: float | None = None
    carried: bool = False
    precision: str = "fp32"
    parameters: Plain = field(default_factory=dict)

    @property
    def column(self) -> str:
        """What the model sees: `inputs` are images, `tokens` are text."""
        return "inputs" if len(self.shape) == 3 else "tokens"


_STANDARDIZE = {"_target_": "components.data.transforms.Standardize"}
_ADAMW = {"_target_": "torch.optim.AdamW", "lr": 1.0e-3, "weight_decay": 0.01}
_SGD = {"_target_": "torch.optim.SGD", "lr": 0.1, "momentum": 0.9, "weight_decay": 1.0e-4}
_NO_DECAY = {"no_decay": ["bias", "norm"]}

SYSTEMS = {
    "lenet5": System(
        "LeNet-5",
        model={"_target_": "components.models.cnn.lenet5.LeNet5"},
        optimizer=_ADAMW,
        batch_size=64,
        rows=12_800,
        shape=(1, 28, 28),
        classes=10,
        transforms=(_STANDARDIZE, {"_target_": "components.data.transforms.Resize", "size": 32}),
    ),
    "resnet20": System(
        "ResNet-20",
        model={"_target_": "components.models.cnn.resnet.CifarResNet"},
        optimizer=_SGD,
        batch_size=16,
        rows=6_400,
        shape=(3, 32, 32),
        classes=10,
        transforms=(_STANDARDIZE,),
    ),
    # nanoGPT's recipe for a CPU: 4 layers, 4 heads, 128 wide, 64 characters of Shakespeare, 12 at once.
    "gpt": System(
        "GPT, 4 layers of 128",
        model={
            "_target_": "components.models.language.gpt.GPT",
            "vocab_size": 65,
            "context_tokens": 64,
            "layers": 4,
            "heads": 4,
            "hidden_dim": 128,
        },
        optimizer={**_ADAMW, "betas": [0.9, 0.99], "weight_decay": 0.1},
        batch_size=12,
        rows=4_800,
        shape=(65,),
        classes=65,
        clip_norm=1.0,
        parameters=_NO_DECAY,
    ),
    "lstm": System(
        "LSTM of 256, carried state",
        model={"_target_": "components.models.language.lstm.LSTM", "vocab_size": 65, "embedding_dim": 256, "hidden_dim": 256},
        optimizer=_ADAMW,
        batch_size=16,
        rows=3_200,
        shape=(65,),
        classes=65,
        clip_norm=1.0,
        carried=True,
    ),
}


def write_data(system: System, directory: Path) -> Path:
    """Write random rows in the system's shapes as a prepared data set and return its directory."""
    rng = np.random.default_rng(0)
    names = tuple(map(str, range(system.classes)))
    if system.column == "inputs":
        columns = {"inputs": Column("uint8", system.shape), "targets": Column("int64", classes=names)}
    else:
        columns = {"tokens": Column("uint8" if system.classes <= 256 else "uint16", system.shape, classes=names)}
    splits: dict[str, dict[str, Any]] = {}
    for split, rows in (("train", system.rows), ("validation", _VALIDATION_ROWS)):
        splits[split] = {name: _random(rng, rows, column, system.classes) for name, column in columns.items()}
    write_data_set(parse_data(_definition(system)), SourceData(columns, splits), {}, directory)
    return directory


def _random(rng: np.random.Generator, rows: int, column: Column, classes: int) -> Array:
    return rng.integers(0, 256 if column.classes is None else classes, (rows, *column.shape), dtype=column.dtype)


def plain_spec(system: System, steps: int, log_every_steps: int = 20, **groups: Plain) -> Plain:
    """Return the specification of a training of so many steps, in plain form; validation and checkpoint come after the last step.

    Args:
        groups: more of the specification's keys (`performance={...}`); `trainer` and `augment` are joined with what stands here.
    """
    images = system.column == "inputs"
    trainer: Plain = {
        "duration": f"{steps}st",
        "validate_every": f"{steps}st",
        "checkpoint_every": f"{steps}st",
        "batch_size": system.batch_size,
        "order": "contiguous" if system.carried else "shuffled",
        "precision": system.precision,
        "clip_norm": system.clip_norm,
        "log_every_steps": log_every_steps,
        "monitor": {"metric": "validation/accuracy", "mode": "max"},
    }
    task = {"_target_": "components.tasks.classification.Classification" if images else "components.tasks.next_token.NextToken"}
    return {
        "experiment": "benchmark",
        "data": _definition(system),
        "model": system.model,
        "task": task if images else {**task, "carried": system.carried},
        "loss": {"_target_": "components.losses.classification.CrossEntropy"},
        "optimizer": system.optimizer,
        "schedule": {"_target_": "components.optim.schedules.cosine"},
        "parameters": system.parameters,
        "evaluate": {"batch_size": system.batch_size, "max_batches": 1},
        "cluster": {"backend": "inline"},
        **groups,
        "trainer": {**trainer, **groups.get("trainer", {})},
        "augment": {"always": list(system.transforms), **groups.get("augment", {})},
    }


def _definition(system: System) -> Plain:
    """Who the data set is; a reader must be named and is not called."""
    reader = {"_target_": "components.data.sources.digits.read_digits", "classes": ["never", "read"], "seed": 0}
    return {
        "name": "synthetic",
        "title": "Random rows",
        "licence": "none",
        "homepage": "none",
        "num_classes": system.classes,
        "fetch": {},
        "prepare": {**reader, "test_fraction": 0.2, "validation_fraction": 0.1},
    }
