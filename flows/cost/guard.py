"""`budget.gpu_hours`, `budget.cpu_hours`: a training that would cost more is not begun, and one that reaches it saves and leaves."""

from __future__ import annotations

import time
from pathlib import Path

from components.errors import UserError
from components.spec.schema import Spec
from components.training.journal import read
from flows.attempts import Kind
from flows.cost.cost import cost_of
from flows.predict import predict, rows_of
from flows.runs import read_run
from flows.store import Manifest, Store

_SECONDS_OF_AN_HOUR = 3600.0


def time_limit(store: Store, run_id: str, spec: Spec, data: Manifest, training: Path) -> float | None:
    """Return until when, in seconds since 1970, a training that begins now may hold its workers; None where it has no budget.

    Args:
        run_id: of the run that begins; what its earlier attempts have held counts.
        data: its data stage.
        training: directory of the train stage, with what an earlier attempt has left in it.

    Raises:
        UserError: the budget is spent, or would not be enough as far as the store knows.
    """
    kind: Kind = spec.cluster.device_kind
    hours = spec.budget.gpu_hours if kind == "gpu" else spec.budget.cpu_hours
    if hours is None:
        return None
    spent = cost_of(store, read_run(store, run_id)).device_seconds(kind)
    left = hours * _SECONDS_OF_AN_HOUR - spent
    expected = _expected(store, spec, data, training)
    if left <= 0.0 or (expected is not None and expected > left):
        raise _refusal(kind, hours, spent, expected)
    return time.time() + left / spec.cluster.devices


def _expected(store: Store, spec: Spec, data: Manifest, training: Path) -> float | None:
    """The device-seconds that the rest of a training will take, from what the store knows; None where it never ran here."""
    seconds = predict("train", spec, store, rows_of(data)).seconds
    return None if seconds is None else seconds * (1.0 - _done(training)) * spec.cluster.devices


def _done(training: Path) -> float:
    """The part of a training's steps that are made, as its journal tells."""
    records = read(training / "metrics.jsonl")
    total = next((r["total_steps"] for r in reversed(records) if "total_steps" in r), 0)
    return min(1.0, max(r["step"] for r in records) / total) if total else 0.0


def _refusal(kind: Kind, hours: float, spent: float, expected: float | None) -> UserError:
    name, key = f"{kind.upper()}-hours", f"budget.{kind}_hours"
    needed = "" if expected is None else f", and the training will take about {expected / _SECONDS_OF_AN_HOUR:.3g} more"
    enough = spent / _SECONDS_OF_AN_HOUR + (expected or 0.0) / _SECONDS_OF_AN_HOUR
    return UserError(
        "the training does not fit into its budget",
        received=f"{key}={hours:g}: {spent / _SECONDS_OF_AN_HOUR:.3g} {name} are spent{needed}",
        expected=f"at least {enough:.3g} {name}, as far as this store knows" if expected is not None else f"more than {enough:.3g} {name}",
        mend=f"raise {key}: what is trained so far stays, and goes on; or train less (trainer.duration)",
    )
