"""How much of the spread of what was measured each varied key explains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from components.spec.space import Range
from flows.search.results import Trial

LEAST_TRIALS = 5  # fewer say nothing
_LEFT_BEHIND = 0.2  # of the trials may have been cut off before the point at which all are compared


def importance(rows: Sequence[Trial], space: Mapping[str, Range], mode: str, seed: int) -> dict[str, float]:
    """Return each key's share of the variance that single keys explain, largest first, by functional ANOVA over a random forest
    (Hutter, Hoos and Leyton-Brown 2014), as Optuna computes it: the shares sum to 1.

    Trials are compared by their best value until `common_percent`: what was stopped early is worse for that alone. Empty where fewer than
    `LEAST_TRIALS` can be compared, where all are alike, and where trials changed their values while they ran.

    Args:
        rows: trials.
        space: what was varied.
        mode: min or max, which value of a trial is its best.
        seed: of the forest.
    """
    import optuna
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    compared = _compared(rows, space, mode)
    if len(compared) < LEAST_TRIALS or len({value for _, value in compared}) == 1 or any(len(row.history) > 1 for row in rows):
        return {}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize" if mode == "max" else "minimize")
    distributions = {key: _distribution(span) for key, span in space.items()}
    study.add_trials([optuna.trial.create_trial(params=places, distributions=distributions, value=value) for places, value in compared])
    found = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=seed))
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def common_percent(rows: Sequence[Trial]) -> float:
    """Return the part of the training, in per cent, that four of five trials with a value reached."""
    reached = sorted(valued[-1] for row in rows if (valued := [point.percent for point in row.curve if point.value is not None]))
    return reached[int(_LEFT_BEHIND * len(reached))] if reached else 0.0


def _compared(rows: Sequence[Trial], space: Mapping[str, Range], mode: str) -> list[tuple[dict[str, Any], float]]:
    """The coordinates and the value of each trial that went as far as is asked, and has a value of the space for each key."""
    percent, found = common_percent(rows), []
    for row in rows:
        value = row.best(mode, percent)
        places = {key: span.place(row.values.get(key)) for key, span in space.items()}
        known = {key: _coordinate(space[key], place) for key, place in places.items() if place is not None}
        if value is not None and row.curve[-1].percent >= percent and len(known) == len(space):
            found.append((known, value))
    return found


def _distribution(span: Range) -> Any:
    """Numbers by their place in the range: the variance is over the scale that was searched, which for a learning rate is its logarithm."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    return CategoricalDistribution(range(len(span.values))) if span.kind == "choice" else FloatDistribution(0.0, 1.0)


def _coordinate(span: Range, place: float) -> float | int:
    """Choices by their number: they may be lists, of which Optuna knows nothing."""
    return round(place * (len(span.values) - 1)) if span.kind == "choice" else place
