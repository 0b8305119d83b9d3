"""Whether a validation is the best so far, and whether it is time to stop."""

from __future__ import annotations

import math
from collections.abc import Mapping

from components.errors import RunError, UserError
from components.spec.schema import MonitorSpec, TrainerSpec
from components.training.lengths import Lengths
from components.training.progress import Progress

OVERFIT_LOSS = 0.01  # nats; debug=overfit ends here


def note_best(progress: Progress, metrics: Mapping[str, float], monitor: MonitorSpec) -> bool:
    """Note whether the monitored metric is the best so far, and say so.

    Raises:
        UserError: the metric is not among those that the experiment reports.
    """
    if monitor.metric not in metrics:
        names = ", ".join(sorted(metrics))
        raise UserError("trainer.monitor.metric is not reported by this experiment", received=monitor.metric, expected=f"one of: {names}")
    value, best = metrics[monitor.metric], progress.best_value
    better = math.isfinite(value) and (best is None or (value > best if monitor.mode == "max" else value < best))
    if better:
        progress.best_value, progress.best_step = value, progress.step
    return better


def why_stop(progress: Progress, trainer: TrainerSpec, lengths: Lengths, *, ended: bool) -> str:
    """Return the reason to stop after a validation, or nothing.

    Args:
        ended: all steps are made.
    """
    if trainer.overfit_one_batch and progress.loss < OVERFIT_LOSS:
        return f"the loss of one batch fell below {OVERFIT_LOSS}"
    if ended:
        return "all steps made"
    if lengths.patience is not None and progress.step - progress.best_step >= lengths.patience:
        return f"no better {trainer.monitor.metric} for {trainer.patience}"
    return ""


def require_overfit(progress: Progress) -> None:
    """Fail a run that was to learn one batch by heart and has not (notes 002 D1).

    Raises:
        RunError: its loss is still far from zero.
    """
    if progress.loss > OVERFIT_LOSS * 5:
        raise RunError(
            f"the model cannot overfit one batch: its loss is still {progress.loss:.4f} after {progress.step} steps "
            f"(expected below {OVERFIT_LOSS * 5}). "
            "Look at the learning rate, the labels' alignment with the inputs, and frozen or unused parameters."
        )
