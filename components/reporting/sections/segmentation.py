"""Segmentation: frames with their true and predicted colour maps, and the classes' overlaps.

Legend: H, W pixels, K classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from components.reporting.images import png
from components.reporting.run import Run
from components.reporting.sections.base import Section

WORST_SAMPLES, OTHER_SAMPLES = 4, 6
TOP_CONFUSIONS = 10
_WIDTH_PIXELS = 240  # of a picture; greater ones are drawn at every n-th pixel
_VOID, _RIGHT, _WRONG = (0, 0, 0), (232, 232, 236), (214, 40, 57)
_SWATCH_PIXELS = 24


def segmentation(run: Run) -> Section | None:
    """Return photo, truth, prediction and error of some samples, and IoU, Dice and accuracy of each class."""
    rows = (run.metrics.get(run.judged_split) or {}).get("per_class_iou")
    if not rows:
        return None
    names, colours = [row["class"] for row in rows], palette(len(rows))
    legend = [{"address": png(np.full((_SWATCH_PIXELS, _SWATCH_PIXELS, 3), c, np.uint8)), "caption": n} for c, n in zip(colours, names, strict=True)]
    legend.append({"address": png(np.full((_SWATCH_PIXELS, _SWATCH_PIXELS, 3), _VOID, np.uint8)), "caption": "not judged"})
    table = [[row["class"], *(_shown(row[key]) for key in ("iou", "dice", "accuracy")), row["pixels"]] for row in rows]
    confusions = _most_confused(names, run.metrics[run.judged_split].get("pixel_confusion") or [])
    return Section(
        "segmentation",
        "Segmentation",
        {
            "intro": f"Split {run.judged_split}. Overlaps are of the whole split's pixels. In the error maps red is wrong, light is right.",
            "figures": [{"title": "Legend", "pictures": legend}, *_figures(run, colours)],
            "tables": [
                {"title": "Classes", "columns": ["class", "IoU", "Dice", "accuracy", "pixels"], "rows": table},
                {"title": "Most confused", "columns": ["true", "predicted", "pixels", "of the true class"], "rows": confusions},
            ],
        },
        template="figures",
    )


def palette(count: int) -> np.ndarray:
    """Return the colours 1 to `count` of PASCAL VOC (its development kit's VOClabelcolormap: a label's bits spread over red, green, blue)."""
    labels = np.arange(1, count + 1)
    colours = np.zeros((count, 3), np.uint8)
    for place in range(8):
        for channel in range(3):
            colours[:, channel] |= (((labels >> (3 * place + channel)) & 1) << (7 - place)).astype(np.uint8)
    return colours


def _figures(run: Run, colours: np.ndarray) -> list[dict[str, Any]]:
    samples = run.samples
    if not {"inputs", "masks", "predictions", "losses", "sample_id"} <= samples.keys():
        return []
    figures = []
    for i in _chosen(samples["losses"], samples["sample_id"]):
        masks, predictions = samples["masks"][i], samples["predictions"][i]
        valid, right = masks < len(colours), masks == predictions
        error = np.where(valid[..., None], np.where(right[..., None], _RIGHT, _WRONG), _VOID).astype(np.uint8)
        pictures = {
            "photo": _photo(samples["inputs"][i]),
            "truth": _coloured(masks, colours),
            "prediction": _coloured(predictions, colours),
            "error": error,
        }
        share = (right & valid).sum() / max(1, valid.sum())
        figures.append(
            {
                "title": f"Sample {int(samples['sample_id'][i])}: loss {float(samples['losses'][i]):.3f}, {share:.1%} of the pixels right",
                "pictures": [{"address": png(_small(pixels)), "caption": caption} for caption, pixels in pictures.items()],
            }
        )
    return figures


def _chosen(losses: np.ndarray, sample_id: np.ndarray) -> list[int]:
    """Return the places of the greatest losses, then of others spread evenly over the ids."""
    order = np.lexsort((sample_id, -losses))
    rest = sorted(order[WORST_SAMPLES:], key=lambda i: int(sample_id[i]))
    count = min(OTHER_SAMPLES, len(rest))
    return [int(i) for i in order[:WORST_SAMPLES]] + [int(rest[k * len(rest) // count]) for k in range(count)]


def _coloured(labels: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """(H, W) labels -> (H, W, 3); what lies outside the classes is not judged."""
    table = np.vstack([colours, np.array(_VOID, np.uint8)])
    return np.asarray(table[np.minimum(labels.astype(np.int64), len(colours))])


def _photo(pixels: np.ndarray) -> np.ndarray:
    """(C, H, W) of any unit -> uint8 (H, W, 3); of other than three channels the first is drawn grey."""
    shown = pixels if len(pixels) == 3 else pixels[:1].repeat(3, axis=0)
    low, high = float(shown.min()), float(shown.max())
    scaled = shown if shown.dtype == np.uint8 else np.round(255 * (shown - low) / ((high - low) or 1.0))
    return np.asarray(scaled, np.uint8).transpose(1, 2, 0)


def _small(pixels: np.ndarray) -> np.ndarray:
    step = -(-pixels.shape[1] // _WIDTH_PIXELS)
    return pixels[::step, ::step]


def _shown(value: float | None) -> float | str:
    return "never seen" if value is None else value


def _most_confused(names: list[str], confusion: list[list[int]]) -> list[list[Any]]:
    pairs = [(count, i, j) for i, row in enumerate(confusion) for j, count in enumerate(row) if i != j and count]
    pairs.sort(key=lambda pair: (-pair[0], pair[1], pair[2]))
    return [[names[i], names[j], count, count / sum(confusion[i])] for count, i, j in pairs[:TOP_CONFUSIONS]]
