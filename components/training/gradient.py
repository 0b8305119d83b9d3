"""Fitting by gradient steps: data, model, task and checkpoints to one run of the loop."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from components.spec.schema import Spec
from components.training.lengths import Lengths
from components.training.loop import Job, Loop
from components.training.place import Place
from components.training.system import build_system


def fit(spec: Spec, place: Place, refit: tuple[int, Lengths] | None = None) -> tuple[dict[str, Any], Lengths]:
    """Train once, or go on with what is begun, and return the summary and the lengths that the schedule was made for.

    Args:
        refit: train on all data but the test split's, for so many steps of the schedule of these lengths, with nothing left to judge by.
    """
    alone = refit is None
    training = place.inputs("train" if alone else ("train", "validation"), spec)
    validation = place.inputs("validation", spec) if alone else None
    model, task = build_system(spec, training.dataset.card, place.session, place.upstream)
    checkpoints = place.checkpoints(spec.trainer.keep_best, spec.trainer.monitor.mode)
    with closing(training):
        loop = Loop(place.session, spec, Job(task, model, training, validation, refit), checkpoints, dict(place.origin))
        with place.journal(loop.progress.step) as loop.journal:
            return loop.run(), loop.lengths
