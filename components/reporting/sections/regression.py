"""Regression: theta, predictions and residuals."""

from __future__ import annotations

import numpy as np

from components.reporting.plots import scatter_chart
from components.reporting.run import Run
from components.reporting.sections.base import Section


def regression(run: Run) -> Section | None:
    """Return theta in raw units, the fit (over the only input, or predictions over targets) and the residuals."""
    shown = run.gallery
    if not {"fit_targets", "fit_predictions"} <= shown.keys():
        return None
    targets, predictions = shown["fit_targets"], shown["fit_predictions"]
    if "fit_inputs" in shown:
        inputs = shown["fit_inputs"]
        order = np.argsort(inputs, kind="stable")
        fit = scatter_chart("chart-fit", "Fit", ("input", "target"), (inputs, targets), (inputs[order], predictions[order]))
    else:
        ends = np.array([min(targets.min(), predictions.min()), max(targets.max(), predictions.max())])
        fit = scatter_chart("chart-fit", "Predictions", ("target", "prediction"), (targets, predictions), (ends, ends))
    ends = np.array([predictions.min(), predictions.max()])
    residuals = scatter_chart(
        "chart-residuals", "Residuals", ("prediction", "target - prediction"), (predictions, targets - predictions), (ends, 0 * ends)
    )
    theta = (run.metrics.get(run.judged_split) or {}).get("theta") or []
    rows = [[f"theta_{i}", row["name"], row["value"]] for i, row in enumerate(theta)]
    return Section(
        "regression",
        "Regression",
        {
            "intro": f"{len(targets)} rows of the {run.judged_split} split. Residuals without a pattern are what a linear model should leave.",
            "charts": [fit, residuals],
            "tables": [{"title": "Theta, in raw units", "columns": ["", "of", "value"], "rows": rows}] if rows else [],
        },
        template="figures",
    )
