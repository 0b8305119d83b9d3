"""Point clouds: some of them in projection with the points that decide marked, and accuracy against density and rotation.

Legend: N points, S pixels of a picture's side.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from components.reporting.charts import Series, line_chart
from components.reporting.images import png
from components.reporting.run import Run
from components.reporting.sections.base import Section

_SIDE_PIXELS = 180
_PAPER, _POINT, _CRITICAL = (255, 255, 255), (170, 174, 186), (214, 40, 57)
# of the kinds of slices: a title, and what the chart lies over
_TITLES = {"points": ("Accuracy by number of points", "cloud size"), "degrees": ("Accuracy by turn about z, in degrees", "angle")}
_SHOWN = 12
# An oblique view: x to the right, z up, y going back to the upper right.
_VIEW = np.array([[1.0, 0.0], [0.45, 0.35], [0.0, 1.0]])


def points(run: Run) -> Section | None:
    """Return clouds with the points that the maximum was taken from, and the accuracy of thinned and turned clouds."""
    scores = run.metrics.get(run.judged_split) or {}
    samples = run.samples
    if "critical" not in samples or samples["inputs"].ndim != 3 or samples["inputs"].shape[2] != 3:
        return None
    charts, tables = [], []
    for kind, rows in (scores.get("slices") or {}).items():
        title, over = _TITLES.get(kind, (f"Accuracy by {kind}", kind))
        values, accuracies = [row["value"] for row in rows], [row["accuracy"] for row in rows]
        charts.append(line_chart(f"chart-slices-{kind}", title, [Series(f"accuracy, {run.judged_split}", values, accuracies)], over=over))
        tables.append({"title": title, "columns": [kind, "accuracy"], "rows": [[f"{v:g}", a] for v, a in zip(values, accuracies, strict=True)]})
    intro = (
        f"Split {run.judged_split}: {scores.get('accuracy', float('nan')):.1%} of the clouds as they are. Red points are critical: each is "
        "the greatest in some feature, and without all the others the answer would be the same."
    )
    return Section("points", "Point clouds", {"intro": intro, "charts": charts, "tables": tables, "figures": [_clouds(run)]}, template="figures")


def _clouds(run: Run) -> dict[str, Any]:
    samples = run.samples
    names = [row["class"] for row in (run.metrics.get(run.judged_split) or {}).get("per_class") or []]
    order = np.lexsort((samples["sample_id"], -samples["losses"]))
    chosen = [*order[: _SHOWN // 2], *np.sort(order[_SHOWN // 2 :])[: _SHOWN // 2]]
    pictures = []
    for i in chosen:
        true, found = (int(samples[key][i]) for key in ("targets", "predictions"))
        true_name, found_name = (names[k] if k < len(names) else str(k) for k in (true, found))
        caption = f"sample {int(samples['sample_id'][i])}: {true_name}" + ("" if true == found else f", taken for {found_name}")
        pictures.append({"address": png(projection(samples["inputs"][i], samples["critical"][i])), "caption": caption})
    return {"title": "Clouds: the greatest losses first, then others", "pictures": pictures}


def projection(cloud: np.ndarray, critical: np.ndarray) -> np.ndarray:
    """Draw a cloud, `(N, 3)`, obliquely, critical points `(N,)` bool in red over the others -> uint8 `(S, S, 3)`."""
    flat = (cloud - cloud.mean(axis=0)) @ _VIEW
    scale = 0.46 * _SIDE_PIXELS / max(float(np.abs(flat).max(initial=0)), 1e-9)
    picture = Image.new("RGB", (_SIDE_PIXELS, _SIDE_PIXELS), _PAPER)
    pen = ImageDraw.Draw(picture)
    for i in np.argsort(critical, kind="stable"):
        x, y = _SIDE_PIXELS / 2 + scale * float(flat[i, 0]), _SIDE_PIXELS / 2 - scale * float(flat[i, 1])
        pen.ellipse((x - 1.5, y - 1.5, x + 1.5, y + 1.5), fill=_CRITICAL if critical[i] else _POINT)
    return np.asarray(picture)
