"""Pose: skeletons on photos or along clips, PCK by joint and over thresholds."""

from __future__ import annotations

from typing import Any

import numpy as np
from markupsafe import Markup
from PIL import Image, ImageDraw

from components.data.skeleton import BONES, HIDDEN, JOINTS
from components.reporting.charts import SERIES, Series, line_chart
from components.reporting.images import png
from components.reporting.run import Plain, Run
from components.reporting.sections.base import Section

WORST, OTHERS, CLIPS = 6, 12, 4
_FRAME_PIXELS = 192  # about so wide is a photo on the page, and half as wide a frame of a clip
_THRESHOLD = 0.2  # of the scores; components/metrics/pose.py has it too, and torch behind it
_NAMES = {"pck": "all joints", "pck_occluded": "occluded", "pck_visible": "visible", "mean_pose_pck": "the mean training pose"}
_RIGHT, _LEFT, _TRUNK, _TRUE = (255, 120, 40), (60, 170, 255), (250, 220, 70), (255, 255, 255)


def pose(run: Run) -> Section | None:
    """Return skeletons of the samples of greatest loss and of others, a table of PCK by joint and its curve over thresholds."""
    scores = run.metrics.get(run.judged_split) or {}
    if "curve" not in scores or "pck" not in scores:
        return None
    return Section(
        "pose",
        "Pose",
        {
            "intro": f"A joint is correct where it is closer to the truth than {_THRESHOLD:g} of the torso's diameter. Predictions are drawn in "
            "colour (right side orange, left side blue), the truth in white; a ring marks a joint that is occluded.",
            "figures": _figures(run),
            "tables": [_joint_table(scores)],
            "charts": [_curve(scores)],
        },
        template="figures",
    )


def _figures(run: Run) -> list[Plain]:
    samples = run.samples
    if not {"inputs", "poses", "keypoints", "losses", "sample_id"} <= samples.keys():
        return []
    is_clip = samples["inputs"].ndim == 5
    order = np.lexsort((samples["sample_id"], -samples["losses"]))
    worst, others = (CLIPS, CLIPS) if is_clip else (WORST, OTHERS)
    groups = [("Greatest loss", order[:worst]), ("Others", np.sort(order[worst:])[-others:])]
    return [{"title": title, "pictures": [_picture(samples, int(i)) for i in chosen]} for title, chosen in groups if len(chosen)]


def _picture(samples: dict[str, np.ndarray], row: int) -> dict[str, str]:
    inputs, truth, found = (samples[name][row] for name in ("inputs", "keypoints", "poses"))
    if inputs.ndim == 3:
        pixels = draw_pose(inputs, truth, found, _FRAME_PIXELS)
    else:
        pixels = draw_strip(inputs, truth, found, _FRAME_PIXELS // 2)
    return {"address": png(pixels), "caption": f"sample {int(samples['sample_id'][row])}, loss {float(samples['losses'][row]):.3g}"}


def draw_pose(image: np.ndarray, truth: np.ndarray, found: np.ndarray, width: int) -> np.ndarray:
    """Draw both skeletons on a photo: uint8 `(C, H, W)`, `(K, 3)` twice -> uint8 `(h, w, 3)`, enlarged to about `width`."""
    return np.asarray(_drawn(_drawn(_enlarged(image, width), image, truth, truth, is_true=True), image, found, truth))


def draw_strip(images: np.ndarray, truth: np.ndarray, found: np.ndarray, width: int) -> np.ndarray:
    """Draw the frames of a clip beside each other, above with the true skeleton, below with the predicted one.

    uint8 `(T, C, H, W)`, `(T, K, 3)` twice -> uint8 `(2 h, T w, 3)`, each frame enlarged to about `width`.
    """
    above = [_drawn(_enlarged(image, width), image, true, true, is_true=True) for image, true in zip(images, truth, strict=True)]
    below = [_drawn(_enlarged(image, width), image, pose, true) for image, true, pose in zip(images, truth, found, strict=True)]
    return np.concatenate([np.concatenate([np.asarray(frame) for frame in frames], axis=1) for frames in (above, below)])


def _enlarged(image: np.ndarray, width: int) -> Image.Image:
    scale = max(1, round(width / image.shape[-1]))
    grey = np.broadcast_to(image, (3, *image.shape[1:])).transpose(1, 2, 0).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(grey)).resize((image.shape[-1] * scale, image.shape[-2] * scale), Image.Resampling.NEAREST)


def _drawn(picture: Image.Image, image: np.ndarray, pose: np.ndarray, truth: np.ndarray, is_true: bool = False) -> Image.Image:
    """Draw the bones whose joints are labelled."""
    pen, scale = ImageDraw.Draw(picture), picture.width / image.shape[-1]
    points = [(float(x + 0.5) * scale, float(y + 0.5) * scale) for x, y in pose[:, :2]]
    for a, b in BONES:
        if truth[a, 2] > 0 and truth[b, 2] > 0:
            pen.line([points[a], points[b]], fill=_TRUE if is_true else _tone(a, b), width=2 if is_true else 3)
    for (x, y), state in zip(points, truth[:, 2], strict=True):
        if int(state) == HIDDEN:
            pen.ellipse((x - 3, y - 3, x + 3, y + 3), outline=_TRUE)
    return picture


def _tone(a: int, b: int) -> tuple[int, int, int]:
    sides = {JOINTS[joint].split()[0] for joint in (a, b)}
    return _RIGHT if sides == {"right"} else _LEFT if sides == {"left"} else _TRUNK


def _joint_table(scores: Plain) -> dict[str, Any]:
    parts = [name for name in _NAMES if name in scores]
    rows = [["all", scores["joints"], *[scores[name] for name in parts]]]
    rows += [[row["joint"], row["count"], *[row[name] for name in parts]] for row in scores["per_joint"]]
    return {"title": f"PCK@{_THRESHOLD:g} by joint", "columns": ["joint", "labelled", *[_NAMES[name] for name in parts]], "rows": rows}


def _curve(scores: Plain) -> Markup:
    curve = scores["curve"]
    lines = [
        Series(_NAMES[name], curve["threshold"], curve[name], colour) for name, colour in zip((n for n in _NAMES if n in curve), SERIES, strict=False)
    ]
    return line_chart("chart-pck", "PCK", lines, over="torso diameter")
