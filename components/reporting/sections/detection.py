"""Detection: photos with true and found boxes, precision over recall, average precision of each class."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from components.reporting.charts import SERIES, Series, line_chart
from components.reporting.images import png
from components.reporting.run import Plain, Run
from components.reporting.sections.base import Section

WORST, OTHERS = 6, 6
_PHOTO_PIXELS = 480  # about so wide is a photo on the page
_TRUE, _LABEL = (255, 255, 255), (20, 20, 24)
_COLOURS = ((255, 96, 64), (72, 150, 255), (250, 210, 60), (80, 210, 120), (220, 110, 230), (90, 220, 220))  # of the classes, in turn
_TABLE = {
    "class": "class", "objects": "objects", "average_precision_50": "AP@.5", "average_precision_75": "AP@.75", "average_precision": "AP@[.5:.95]",
    "precision": "precision", "recall": "recall", "score": "at the score",
}  # fmt: skip
_KEYS = {"inputs", "boxes", "boxes.offsets", "labels", "found_boxes", "found_scores", "found_labels", "losses", "sample_id"}


def detection(run: Run) -> Section | None:
    """Return the photos of greatest loss and others with their boxes, the classes' table and their curves at overlap 0.5."""
    scores = run.metrics.get(run.judged_split) or {}
    if not {"detection", "precision_recall"} <= scores.keys():
        return None
    rows = [[_cell(row[key]) for key in _TABLE] for row in scores["detection"]]
    return Section(
        "detection",
        "Detection",
        {
            "intro": f"Split: {run.judged_split}. True boxes are white. A found box has its class's colour and its score, and is drawn where that is "
            "at least the score of the class's greatest F1 at overlap 0.5: the score of the table, with its precision and recall.",
            "charts": [_curves(scores["precision_recall"])],
            "tables": [{"title": "Average precision of each class", "columns": list(_TABLE.values()), "rows": rows}],
            "figures": _figures(run, scores),
        },
        template="figures",
    )


def _cell(value: Any) -> Any:
    return "none" if value is None else value


def _curves(found: Plain) -> Any:
    series = [
        Series(f"{name}, AP {np.mean(precision):.3f}", found["recall"], precision, SERIES[k % len(SERIES)])
        for k, (name, precision) in enumerate(found["precision"].items())
    ]
    return line_chart("chart-precision-recall", "Precision over recall at overlap 0.5", series, over="recall")


def _figures(run: Run, scores: Plain) -> list[Plain]:
    samples = run.samples
    if not samples.keys() >= _KEYS:
        return []
    names = [str(row["class"]) for row in scores["detection"]]
    least = np.array([1.0 if row["score"] is None else row["score"] for row in scores["detection"]])
    order = np.lexsort((samples["sample_id"], -samples["losses"]))
    groups = [("Greatest loss", order[:WORST]), ("Others", np.sort(order[WORST:])[:OTHERS])]
    return [{"title": title, "pictures": [_picture(samples, int(i), names, least) for i in chosen]} for title, chosen in groups if len(chosen)]


def _picture(samples: dict[str, np.ndarray], row: int, names: list[str], least: np.ndarray) -> dict[str, str]:
    own = slice(*samples["boxes.offsets"][row : row + 2])
    labels, scores = samples["found_labels"][row], samples["found_scores"][row]
    shown = (labels >= 0) & (scores >= least[labels])
    boxes = samples["found_boxes"][row][shown]
    pixels = draw_boxes(samples["inputs"][row], samples["boxes"][own], boxes, labels[shown], scores[shown], names)
    counts = f"{own.stop - own.start} true, {int(shown.sum())} found"
    return {"address": png(pixels), "caption": f"sample {int(samples['sample_id'][row])}, {counts}, loss {float(samples['losses'][row]):.3g}"}


def draw_boxes(photo: np.ndarray, true: np.ndarray, found: np.ndarray, labels: np.ndarray, scores: np.ndarray, names: list[str]) -> np.ndarray:
    """Draw boxes on a photo that is enlarged by a whole number.

    Args:
        photo: uint8 `(3, H, W)`.
        true: `(G, 4)` pixels of the photo.
        found: `(D, 4)`, with `labels (D,)` and `scores (D,)`.
        names: of the classes.

    Returns:
        uint8 `(s H, s W, 3)`.
    """
    scale = max(1, round(_PHOTO_PIXELS / photo.shape[2]))
    picture = Image.fromarray(np.ascontiguousarray(photo.transpose(1, 2, 0).repeat(scale, axis=0).repeat(scale, axis=1)))
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(11)
    for box in true:
        pen.rectangle(_corners(box, scale), outline=_TRUE, width=1)
    for box, label, score in zip(found, labels, scores, strict=True):
        colour = _COLOURS[int(label) % len(_COLOURS)]
        left, top, *rest = _corners(box, scale)
        pen.rectangle((left, top, *rest), outline=colour, width=2)
        text = f"{names[int(label)]} {score:.2f}"
        place = (left, max(0.0, top - 12))
        pen.rectangle(pen.textbbox(place, text, font=font), fill=colour)
        pen.text(place, text, fill=_LABEL, font=font)
    return np.asarray(picture)


def _corners(box: np.ndarray, scale: int) -> tuple[float, float, float, float]:
    """Edges to the first and the last pixel that a rectangle covers."""
    left, top, right, bottom = (float(value) * scale for value in box)
    return left, top, max(left, right - 1), max(top, bottom - 1)
