"""Classification: confusion matrix, per-class table, calibration, sample predictions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from components.reporting.charts import reliability_chart
from components.reporting.images import heat_map, thumbnails
from components.reporting.run import Plain, Run
from components.reporting.sections.base import Section

TABLE_CLASSES = 30  # a greater confusion matrix is drawn as a picture
WORST_SAMPLES = 12
TOP_CLASSES = 3
TOP_CONFUSIONS = 8


def classes(run: Run) -> Section | None:
    """Return the per-class table and the confusion matrix of the split that the run is judged by."""
    scores = _scores(run)
    if "confusion" not in scores:
        return None
    names = [row["class"] for row in scores["per_class"]]
    confusion = scores["confusion"]
    matrix = [{"name": name, "total": sum(row), "cells": _cells(row, k)} for k, (name, row) in enumerate(zip(names, confusion, strict=True))]
    is_table = len(names) <= TABLE_CLASSES
    return Section(
        "classes",
        "Classes",
        {
            "split": run.judged_split,
            "names": names,
            "matrix": matrix if is_table else None,
            "picture": None if is_table else heat_map(np.array([[cell["weight"] for cell in row["cells"]] for row in matrix])),
            "per_class": scores["per_class"],
            "confusions": _most_confused(names, confusion),
        },
    )


def calibration(run: Run) -> Section | None:
    """Return the reliability diagram (Guo et al. 2017) with the scores of calibration beside it."""
    scores = _scores(run)
    if "calibration" not in scores:
        return None
    columns = {key: [row[key] for row in scores["calibration"]] for key in ("lower", "upper", "accuracy", "count")}
    return Section(
        "calibration",
        "Calibration",
        {
            "split": run.judged_split,
            "chart": reliability_chart("chart-reliability", **columns),
            "scores": [(name, scores[name]) for name in ("expected_calibration_error", "brier_score", "negative_log_likelihood") if name in scores],
            "bins": [row for row in scores["calibration"] if row["count"]],
        },
    )


def predictions(run: Run) -> Section | None:
    """Return samples with what was predicted for them: those of the greatest loss, then other wrong ones, then right ones."""
    samples = run.samples
    if not {"targets", "predictions", "probabilities", "losses", "sample_id"} <= samples.keys() or samples["probabilities"].ndim != 2:
        return None
    shown = _shown(run)
    order = np.lexsort((samples["sample_id"], -samples["losses"]))
    worst, rest = [shown[i] for i in order[:WORST_SAMPLES]], [shown[i] for i in np.sort(order[WORST_SAMPLES:])]
    groups = [
        ("Greatest loss", worst),
        ("Wrong", [sample for sample in rest if not sample["right"]]),
        ("Right", [sample for sample in rest if sample["right"]]),
    ]
    return Section("predictions", "Sample predictions", {"groups": [(title, group) for title, group in groups if group]})


def _scores(run: Run) -> Plain:
    return run.metrics.get(run.judged_split) or {}


def _cells(row: list[int], true: int) -> list[dict[str, Any]]:
    # the square root lets a confusion of one in a hundred be seen beside a diagonal of ninety-nine
    total = sum(row)
    return [{"count": count, "weight": math.sqrt(count / total) if total else 0.0, "right": k == true} for k, count in enumerate(row)]


def _most_confused(names: list[str], confusion: list[list[int]]) -> list[tuple[str, str, int]]:
    pairs = [(count, i, j) for i, row in enumerate(confusion) for j, count in enumerate(row) if i != j and count]
    pairs.sort(key=lambda pair: (-pair[0], pair[1], pair[2]))
    return [(names[i], names[j], count) for count, i, j in pairs[:TOP_CONFUSIONS]]


def _shown(run: Run) -> list[dict[str, Any]]:
    samples = run.samples
    names = _class_names(run, samples["probabilities"].shape[1])
    pictures = thumbnails(samples["inputs"]) if "inputs" in samples else None
    return [
        {
            "id": int(samples["sample_id"][i]),
            "true": names[int(samples["targets"][i])],
            "predicted": names[int(samples["predictions"][i])],
            "right": bool(samples["targets"][i] == samples["predictions"][i]),
            "loss": float(samples["losses"][i]),
            "top": [(names[k], float(samples["probabilities"][i, k])) for k in _top(samples["probabilities"][i])],
            "picture": pictures[i] if pictures else None,
        }
        for i in range(len(samples["sample_id"]))
    ]


def _top(probabilities: np.ndarray) -> list[int]:
    return [int(k) for k in np.argsort(-probabilities, kind="stable")[:TOP_CLASSES]]


def _class_names(run: Run, num_classes: int) -> list[str]:
    """Return K names: from the evaluation, else from the data card, else the numbers."""
    evaluated = [row["class"] for row in _scores(run).get("per_class") or []]
    carded = ((run.card.get("columns") or {}).get("targets") or {}).get("classes") or []
    return next((list(map(str, names)) for names in (evaluated, carded) if len(names) == num_classes), [str(k) for k in range(num_classes)])
