"""How much of the spread of what was measured each varied key explains."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from components.spec.space import Range
from flows.search.results import Trial

LEAST_TRIALS = 5  # fewer say nothing


def importance(rows: Sequence[Trial], space: Mapping[str, Range], mode: str, seed: int) -> dict[str, float]:
    """Return each key's share of the variance of the best values, largest first, by functional ANOVA over a random forest
    (Hutter, Hoos and Leyton-Brown 2014), as Optuna computes it; empty where there are too few trials.

    Args:
        rows: trials; those without a finite value are left out.
        space: what was varied.
        mode: which value of a trial is its best.
        seed: of the forest.
    """
    import optuna
    from optuna.importance import FanovaImportanceEvaluator

    measured = [(row, value) for row in rows if (value := row.best(mode)) is not None and math.isfinite(value)]
    if len(measured) < LEAST_TRIALS or len({value for _, value in measured}) == 1:
        return {}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize" if mode == "max" else "minimize")
    distributions = {key: _distribution(span) for key, span in space.items()}
    for row, value in measured:
        params = {key: _place(span, row.values[key]) for key, span in space.items()}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=value))
    found = FanovaImportanceEvaluator(seed=seed).evaluate(study)
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _distribution(span: Range) -> Any:
    """Numbers by their place in the range: the variance is over the scale that was searched, which for a learning rate is its logarithm."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    return CategoricalDistribution(span.values) if span.kind == "choice" else FloatDistribution(0.0, 1.0)


def _place(span: Range, value: Any) -> Any:
    return value if span.kind == "choice" else span.position(value)
