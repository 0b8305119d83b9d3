"""Predicted densities: the fan chart and what the components do."""

from __future__ import annotations

from components.reporting.plots import fan_chart
from components.reporting.run import Run
from components.reporting.sections.base import Section

_TABLE_COLUMNS = 5  # places on the x axis
_SCORES = ("coverage_50", "coverage_90", "calibration_error", "excess_nll", "deviation_correlation")


def density(run: Run) -> Section | None:
    """Return quantile bands over the input with the data, the components at a few places, and how well the levels are kept."""
    shown = run.gallery
    if "fan_quantiles" not in shown:
        return None
    fan = fan_chart(
        "chart-fan", "Predicted quantiles", shown["fan_x"], shown["fan_levels"], shown["fan_quantiles"], (shown["fan_inputs"], shown["fan_targets"])
    )
    scores = run.metrics.get(run.judged_split) or {}
    rows = [[name.replace("_", " "), scores[name]] for name in _SCORES if name in scores]
    return Section(
        "density",
        "Predicted densities",
        {
            "intro": "Half of the data should lie in the inner band and nine tenths in the outer one. Where the density has two modes, "
            "the bands reach over the gap between them: the table of components tells where the modes are.",
            "charts": [fan],
            "tables": [
                {"title": f"Calibration, {run.judged_split} split", "columns": ["score", "value"], "rows": rows},
                {"title": "Components: weight at location", "columns": _heads(run), "rows": _components(run)},
            ],
        },
        template="figures",
    )


def _places(run: Run) -> list[int]:
    count = len(run.gallery["fan_x"])
    return [i * (count - 1) // (_TABLE_COLUMNS - 1) for i in range(_TABLE_COLUMNS)]


def _heads(run: Run) -> list[str]:
    return ["", *(f"x = {run.gallery['fan_x'][i]:.2f}" for i in _places(run))]


def _components(run: Run) -> list[list[str]]:
    weights, locations = run.gallery["fan_weights"], run.gallery["fan_locations"]
    return [[f"{m + 1}", *(f"{weights[m, i]:.2f} at {locations[m, i]:.3g}" for i in _places(run))] for m in range(len(weights))]
