"""`doctor`: every check on one system, in order, as plain data."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import torch

from components.spec.parse import parse_spec
from components.training.doctor import data, gradients, learning, loader, loss, modes, shapes
from components.training.doctor.finding import Finding, rows
from components.training.doctor.patient import Patient
from components.training.session import Session

Check = Callable[[Patient], Finding | list[Finding]]

CHECKS: tuple[tuple[str, str, Check], ...] = (
    ("data", "data set", data.check_stage),
    ("D11", "samples a class", data.samples_a_class),
    ("D12", "zero mean, unit variance", data.standardised),
    ("D6", "first layer's inputs", loader.first_inputs),
    ("D6", "width and height", loader.orientation),
    ("D9", "mixed batches", loader.mixed_batches),
    ("D16", "loss contract", loss.contract),
    ("D16", "loss input", loss.loss_input),
    ("D17", "loss terms", loss.term_ratio),
    ("D15", "evaluation mode", modes.evaluation_mode),
    ("D15", "cleared gradients", modes.cleared_gradients),
    ("D18", "frozen parameters", gradients.frozen_parameters),
    ("D20", "gradient check", gradients.gradient_check),
    ("D19", "odd batches", shapes.odd_batches),
    ("D19", "last batch", shapes.smallest_batch),
    ("D19", "prime images", shapes.prime_images),
    ("independence", "samples apart", shapes.independence),
    ("future", "no look ahead", shapes.future),
    ("D3", "iteration time", loader.iteration_time),
    ("D1", "overfit one sample", learning.overfit_one),
    ("D2", "overfit ten samples", learning.overfit_ten),
    ("D5", "random inputs", learning.random_inputs),
    ("D7", "inputs and labels", learning.alignment),
)


def doctor(session: Session, config: dict[str, Any]) -> dict[str, Any]:
    """Check a system before it is trained (notes 002 section 14). Changes nothing on disk, nor the process's random numbers.

    Args:
        session: one process and its device.
        config: `spec` (plain), `data` (prepared directory).

    Returns:
        `checks`, a list of {check, name, status (ok, warn, fail, skipped), found, expected, mend, seconds}; `failed`, how many failed;
        `seconds`.

    Raises:
        UserError: the data set cannot be read, or the specification does not fit it.
    """
    with torch.random.fork_rng(), closing(Patient(session, parse_spec(config["spec"]), Path(config["data"]))) as patient:
        return examine(patient)


def examine(patient: Patient) -> dict[str, Any]:
    """Run every check on a patient; the form is that of `doctor`."""
    started = time.perf_counter()
    wrong = "the system cannot make this step at all"
    found = [row for check, name, look in CHECKS for row in rows(check, name, partial(look, patient), wrong)]
    failed = sum(row["status"] == "fail" for row in found)
    return {"checks": found, "failed": failed, "seconds": time.perf_counter() - started}
