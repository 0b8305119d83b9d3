"""Patients: a system of the test's own on the synthetic stripes, or on data that the test makes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from components.data.card import Column
from components.data.columns import SourceData
from components.data.prepare import write_data_set
from components.spec.parse import parse_spec
from components.tasks.classification import Classification
from components.training.doctor.patient import Patient
from components.training.session import LocalSession
from tests.synthetic import synthetic_definition
from tests.training.systems import classifier


def system(make: Callable[[], nn.Module], task: type[Classification] = Classification, loss: nn.Module | None = None):
    """A system of a model and, where it is not the configured one, a task or a loss."""

    def build(spec: Any, card: Any, session: Any):
        torch.manual_seed(spec.seed)
        model, configured = classifier(make(), spec, card, session)
        return model, task(loss or configured.loss, card)

    return build


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 3))


SOUND = system(mlp)


@pytest.fixture(scope="package")
def composed(plain) -> Callable[..., dict[str, Any]]:
    """`plain`, each set of overrides composed once: that takes longer than most checks."""
    return functools.cache(plain)


@pytest.fixture
def patient(data, composed) -> Callable[..., Patient]:
    """Make a patient; `always=[]` and `train=[]` take transforms away."""

    def make(build: Any = SOUND, *overrides: str, directory: Path = data, **augment: list[Any]) -> Patient:
        spec = composed(*overrides)
        spec = {**spec, "augment": {**spec["augment"], **augment}}
        return Patient(LocalSession(), parse_spec(spec), directory, build)

    return make


@pytest.fixture
def write(tmp_path) -> Callable[..., Path]:
    """Write a data set whose splits are {column: array}; inputs and targets are described from the arrays."""

    def make(splits: dict[str, dict[str, np.ndarray]], classes: int | None = 3) -> Path:
        train = splits["train"]
        names = tuple(f"class {k}" for k in range(classes)) if classes else None
        columns = {name: Column(values.dtype.name, values.shape[1:], classes=names if name == "targets" else None) for name, values in train.items()}
        directory = tmp_path / "set"
        write_data_set(synthetic_definition("made"), SourceData(columns, splits), {}, directory)
        return directory

    return make


def stripes(rows: int, seed: int, shape: tuple[int, ...] = (1, 8, 8)) -> dict[str, np.ndarray]:
    """Images of three classes that differ in which third is bright."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 3, rows)
    inputs = rng.integers(0, 120, (rows, *shape))
    for row, target in enumerate(targets):
        inputs[row, 0, 2 * target : 2 * target + 3] += 100
    return {"inputs": inputs.astype(np.uint8), "targets": targets}


@pytest.fixture
def splits() -> dict[str, dict[str, np.ndarray]]:
    return {"train": stripes(120, 1), "validation": stripes(60, 2), "test": stripes(30, 3)}
