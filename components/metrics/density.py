"""Scores of predicted densities of one number a sample. N samples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from components.errors import RunError
from components.metrics.base import Metric, State, gather_samples

_INTERVALS = (0.5, 0.9)
_COLUMNS = ("nll", "errors", "deviations", "levels")
TRUTH = ("deviation", "true_nll")  # columns of generated data


class Density(Metric):
    """Likelihood, calibration, and, where the data's own noise is known, how near the prediction comes to it.

    Args:
        truth_known: batches hold `deviation` and `true_nll`.
    """

    def __init__(self, truth_known: bool = False) -> None:
        self.truth = TRUTH if truth_known else ()
        self._batches: list[State] = []

    def update(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> None:
        """Take one batch.

        Args:
            outputs: `losses (B,)`, nats; `means`, `deviations` and `levels` `(B,)`: mean, standard deviation and P(y <= target) of the
                predicted density.
            batch: `targets (B,)`, `sample_id` int64 `(B,)`, and the truth `(B,)` each, where it is known.
        """
        found = {
            "nll": outputs["losses"],
            "errors": outputs["means"] - batch["targets"],
            "deviations": outputs["deviations"],
            "levels": outputs["levels"],
            **{name: batch[name] for name in self.truth},
        }
        columns = {name: values.detach().cpu().double() for name, values in found.items()}
        self._batches.append({"sample_id": batch["sample_id"].detach().cpu().long(), **columns})

    def state(self) -> State:
        """Return this rank's samples, each tensor `(n_rank,)`."""
        empty = {name: torch.empty(0, dtype=torch.float64) for name in (*_COLUMNS, *self.truth)} | {"sample_id": torch.empty(0, dtype=torch.int64)}
        return {name: torch.cat([before, *(part[name] for part in self._batches)]) for name, before in empty.items()}

    def compute(self, states: Sequence[State]) -> dict[str, Any]:
        """Return the scores over all ranks' samples.

        Returns:
            Floats `nll` (nats a sample), `rmse` of the mean, `coverage_50` and `coverage_90` (how many targets lie in the central interval of that
            probability), `calibration_error` (the largest distance of the targets' levels from uniform: Kolmogorov and Smirnov's); where the
            truth is known `excess_nll` (above that of the true density, the expected excess being a Kullback-Leibler divergence) and
            `deviation_correlation` (Pearson's, of predicted and true standard deviation; 0 where one of them never varies); `samples`.

        Raises:
            AssertionError: no sample at all, or one seen twice.
            RunError: a likelihood is no finite number.
        """
        samples = gather_samples(states)
        count = len(samples["sample_id"])
        assert count > 0, "no sample was evaluated"
        bad = samples["sample_id"][~samples["nll"].isfinite()]
        if len(bad):
            raise RunError(f"The model gave a non-finite likelihood for {len(bad)} of {count} samples, first sample_id {int(bad[0])}.")
        levels = samples["levels"]
        scores: dict[str, Any] = {"nll": _mean(samples["nll"]), "rmse": math.sqrt(_mean(samples["errors"].square()))}
        for part in _INTERVALS:
            scores[f"coverage_{part:.0%}".rstrip("%")] = int(((levels - 0.5).abs() <= part / 2).sum()) / count
        scores["calibration_error"] = kolmogorov_smirnov(levels)
        if self.truth:
            scores["excess_nll"] = scores["nll"] - _mean(samples["true_nll"])
            scores["deviation_correlation"] = pearson(samples["deviations"], samples["deviation"])
        return {**scores, "samples": count}


def kolmogorov_smirnov(levels: Tensor) -> float:
    """Return the largest distance between the distribution of `levels (N,)` and the uniform one on [0, 1]."""
    ordered, count = levels.sort().values, len(levels)
    steps = torch.arange(count + 1, dtype=torch.float64) / count
    return float(torch.maximum(steps[1:] - ordered, ordered - steps[:-1]).max())


def pearson(first: Tensor, second: Tensor) -> float:
    """Return the correlation coefficient of two `(N,)`; 0 where one of them never varies."""
    a, b = (values - _mean(values) for values in (first, second))
    scale = math.sqrt(math.fsum(a.square().tolist()) * math.fsum(b.square().tolist()))
    constant = bool((first == first[0]).all()) or bool((second == second[0]).all())
    return 0.0 if constant else math.fsum((a * b).tolist()) / scale


def _mean(values: Tensor) -> float:
    # fsum is correctly rounded. torch.sum is not the same to the bit for another number of threads.
    return math.fsum(values.tolist()) / len(values)
