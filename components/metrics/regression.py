"""Scores of regression: one number predicted a sample. N samples, D features, Q queries."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from components.errors import RunError
from components.metrics.base import Metric, State, gather_samples


class Regression(Metric):
    """Errors of the predictions, and what the model is: its coefficients and its answers to fixed questions, where it has them.

    Args:
        coefficients: the names of theta, the constant first; a model without one leaves them unused.
        queries: the names of the questions.
    """

    def __init__(self, coefficients: Sequence[str] = (), queries: Sequence[str] = ()) -> None:
        self.coefficients, self.queries = list(coefficients), list(queries)
        self._batches: list[State] = []

    def update(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> None:
        """Take one batch.

        Args:
            outputs: `predictions (B,)`; `theta (B, D + 1)` and `answers (B, Q)`, the same in each row.
            batch: `targets (B,)`, `sample_id` int64 `(B,)`.

        Raises:
            AssertionError: predictions of another shape than the targets.
        """
        targets, predictions = batch["targets"].detach().cpu().double(), outputs["predictions"].detach().cpu().double()
        assert predictions.shape == targets.shape, (tuple(predictions.shape), tuple(targets.shape))
        constants = {name: outputs[name].detach().cpu().double() for name in ("theta", "answers")}
        self._batches.append({"sample_id": batch["sample_id"].detach().cpu().long(), "targets": targets, "predictions": predictions, **constants})

    def state(self) -> State:
        """Return this rank's samples, each tensor `(n_rank, ...)`."""
        if self._batches:
            return {name: torch.cat([part[name] for part in self._batches]) for name in self._batches[0]}
        lengths = {"sample_id": torch.empty(0, dtype=torch.int64), "theta": torch.empty(0, 0), "answers": torch.empty(0, 0)}
        return {**lengths, "targets": torch.empty(0), "predictions": torch.empty(0)}

    def compute(self, states: Sequence[State]) -> dict[str, Any]:
        """Return the scores over all ranks' samples.

        Returns:
            Floats `cost` (J = 1/(2N) sum (h - y)^2), `mse`, `rmse`, `mae`, `r2` (1 - residual / total sum of squares, as scikit-learn; 0
            where all targets are equal), `theta_0` ... `theta_D`, one a query under its own name; `samples` (N); `theta` [{name, value}].

        Raises:
            AssertionError: no sample at all, or one seen twice.
            RunError: a prediction is no number.
        """
        filled = [state for state in states if len(state["sample_id"])]  # how long theta is, a rank without a batch cannot know
        assert filled, "no sample was evaluated"
        samples = gather_samples(filled)
        count = len(samples["sample_id"])
        bad = samples["sample_id"][~samples["predictions"].isfinite()]
        if len(bad):
            raise RunError(f"The model's prediction for {len(bad)} of {count} samples is no finite number, first sample_id {int(bad[0])}.")
        errors, targets = (samples["predictions"] - samples["targets"]).tolist(), samples["targets"].tolist()
        # fsum is correctly rounded. torch.sum is not the same to the bit for another number of threads.
        squares, centre = math.fsum(e * e for e in errors), math.fsum(targets) / count
        total = math.fsum((t - centre) ** 2 for t in targets)
        theta = samples["theta"][0].tolist()
        return {
            "r2": 1.0 - squares / total if total else 0.0,
            "rmse": math.sqrt(squares / count),
            "mae": math.fsum(abs(e) for e in errors) / count,
            "mse": squares / count,
            "cost": squares / (2 * count),
            **dict(zip(self.queries, samples["answers"][0].tolist(), strict=True)),
            **{f"theta_{i}": value for i, value in enumerate(theta)},
            "samples": count,
            "theta": [{"name": name, "value": value} for name, value in zip(self.coefficients, theta, strict=False)],
        }
