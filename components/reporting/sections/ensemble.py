"""Ensembles: what the members gain by answering together, and how alike they err."""

from __future__ import annotations

from typing import Any

import numpy as np

from components.reporting.charts import SERIES, Series, line_chart
from components.reporting.run import Plain, Run
from components.reporting.sections.base import Section

SHOWN_SAMPLES = 12


def ensemble(run: Run) -> Section | None:
    """Return accuracy and squared error by the number of members, the members, their likeness in pairs, and the samples they dispute."""
    scores = run.metrics.get(run.judged_split) or {}
    if "by_members" not in scores:
        return None
    rows = scores["by_members"]
    return Section(
        "ensemble",
        "Ensemble",
        {
            "intro": _intro(run.judged_split, scores),
            "charts": _charts(rows),
            "tables": [
                _members(run, scores),
                _by_members(rows),
                _pairs("Q-statistic of two members (0: they err independently, 1: alike)", scores["q_statistic"]),
                _pairs("Correlation of where two members are right", scores["correlation"]),
                *_disputed(run),
            ],
        },
        template="figures",
    )


def _intro(split: str, scores: Plain) -> str:
    alone, together = scores["member_accuracy"], scores["by_members"][-1]["accuracy"]
    return (
        f"{len(scores['members'])} members reach an accuracy of {alone:.4f} on average and {together:.4f} together, on {split}. "
        f"Points are means over all subsets of so many members. With v = {scores['error_variance']:.4f}, the mean squared error of one, and "
        f"c = {scores['error_covariance']:.4f}, the mean product of two, the error of E is v / E + (E - 1) c / E: none brings it below c."
    )


def _charts(rows: list[Plain]) -> list[Any]:
    members = [row["members"] for row in rows]
    columns = {name: [row[name] for row in rows] for name in ("accuracy", "squared_error", "predicted_squared_error")}
    errors = [
        Series("measured", members, columns["squared_error"]),
        Series("v / E + (E - 1) c / E", members, columns["predicted_squared_error"], SERIES[1]),
    ]
    return [
        line_chart("chart-ensemble-accuracy", "Accuracy", [Series("accuracy", members, columns["accuracy"])], over="member"),
        line_chart("chart-ensemble-error", "Squared error of the averaged probabilities", errors, over="member"),
    ]


def _members(run: Run, scores: Plain) -> Plain:
    missed = run.gallery.get("missed_rows", np.zeros(0))
    resampled = bool(missed.any())
    columns = ["member", "accuracy", "squared error", *(["training rows never seen"] if resampled else [])]
    rows = [[f"{i}", member["accuracy"], member["squared_error"]] for i, member in enumerate(scores["members"])]
    return {"title": "Members", "columns": columns, "rows": [[*row, *([float(missed[i])] if resampled else [])] for i, row in enumerate(rows)]}


def _by_members(rows: list[Plain]) -> Plain:
    columns = ["members", "accuracy", "squared error", "v / E + (E - 1) c / E"]
    values = [[f"{row['members']}", row["accuracy"], row["squared_error"], row["predicted_squared_error"]] for row in rows]
    return {"title": "By number of members", "columns": columns, "rows": values}


def _pairs(title: str, matrix: list[list[float]]) -> Plain:
    rows = [[f"{i}", *("" if i == j else value for j, value in enumerate(row))] for i, row in enumerate(matrix)]
    return {"title": title, "columns": ["member", *(f"{i}" for i in range(len(matrix)))], "rows": rows}


def _disputed(run: Run) -> list[Plain]:
    """The shown samples on which the members disagree most, with each one's vote."""
    samples = run.samples
    if "member_predictions" not in samples:
        return []
    names = ((run.card.get("columns") or {}).get("targets") or {}).get("classes") or []
    votes = samples["member_predictions"]
    kinds = np.array([len(np.unique(row)) for row in votes])
    chosen = [i for i in np.lexsort((samples["sample_id"], -kinds)) if kinds[i] > 1][:SHOWN_SAMPLES]
    rows = [
        [f"{samples['sample_id'][i]}", *(_name(names, label) for label in (samples["targets"][i], samples["predictions"][i], *votes[i]))]
        for i in chosen
    ]
    return [
        {"title": "Shown samples that the members dispute", "columns": ["sample", "true", "together", *map(str, range(votes.shape[1]))], "rows": rows}
    ]


def _name(names: list[str], label: int) -> str:
    return str(names[label]) if label < len(names) else str(int(label))
