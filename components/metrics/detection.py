"""Average precision of detections, as COCO counts it (Lin et al. 2014, cocodataset.org/#detection-eval; notes 003 lines 1514-1532).

Legend: n images of a rank, D detections of an image, G true objects of an image, T overlap thresholds, K classes, R points of recall.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from components.decoding.boxes import overlaps
from components.errors import RunError
from components.metrics.base import Metric, State, gather_samples

THRESHOLDS = np.linspace(0.5, 0.95, 10)  # the first is that of AP@.5, the sixth that of AP@.75
RECALLS = np.linspace(0.0, 1.0, 101)  # where COCO reads the precision; Pascal VOC 2007 reads 11, later VOC the area under all


class Detection(Metric):
    """Average precision of each class and its means.

    The notes count true and false positives by an overlap of 0.5 and do not say what a second detection of an object is: it is false. Within an
    image the best-scored detection chooses first, among the free objects of its class, the one that it overlaps most.

    Args:
        class_names: K.
        most_detections: D, as the task's outputs have it.
    """

    def __init__(self, class_names: Sequence[str], most_detections: int) -> None:
        self.class_names = list(class_names)
        self._empty: State = {
            "sample_id": torch.empty(0, dtype=torch.int64),
            "losses": torch.empty(0, dtype=torch.float64),
            "scores": torch.empty(0, most_detections, dtype=torch.float64),
            "labels": torch.empty(0, most_detections, dtype=torch.int64),  # -1: nothing
            "hits": torch.empty(0, most_detections, len(THRESHOLDS), dtype=torch.bool),
            "objects": torch.empty(0, len(self.class_names), dtype=torch.int64),  # true ones of each class
        }
        self._batches: list[State] = []

    def update(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> None:
        """Take one batch.

        Args:
            outputs: `boxes (B, D, 4)`, `scores (B, D)` falling, `labels (B, D)` with -1 where nothing is, `losses (B,)`.
            batch: ragged `boxes`, `labels`, and `sample_id`.
        """
        boxes, labels = outputs["boxes"].detach().cpu().double(), outputs["labels"].detach().cpu()
        true_boxes, true_labels = batch["boxes"].detach().cpu().double(), batch["labels"].detach().cpu()
        offsets = batch["boxes.offsets"].tolist()
        rows = [slice(start, end) for start, end in pairwise(offsets)]
        hits = [_hits(boxes[i], labels[i].numpy(), true_boxes[row], true_labels[row].numpy()) for i, row in enumerate(rows)]
        classes = len(self.class_names)
        self._batches.append(
            {
                "sample_id": batch["sample_id"].detach().cpu().long(),
                "losses": outputs["losses"].detach().cpu().double(),
                "scores": outputs["scores"].detach().cpu().double(),
                "labels": labels.long(),
                "hits": torch.from_numpy(np.stack(hits)),
                "objects": torch.stack([torch.bincount(true_labels[row], minlength=classes) for row in rows]),
            }
        )

    def state(self) -> State:
        """Return this rank's images, each tensor `(n, ...)`: what each detection hit at each threshold, and how much there was to hit."""
        return {name: torch.cat([nothing, *(part[name] for part in self._batches)]) for name, nothing in self._empty.items()}

    def compute(self, states: Sequence[State]) -> dict[str, Any]:
        """Return the scores over all ranks' images. A class without a true object has no average precision and is in no mean.

        Returns:
            Floats `mean_average_precision_50` (overlap 0.5), `mean_average_precision_75`, `mean_average_precision` (mean over the overlaps
            0.50, 0.55 ... 0.95) and `loss`; `samples`; `detection` [{class, objects, average_precision_50, average_precision_75,
            average_precision, precision, recall, score}], the last three at the score of the greatest F1 at overlap 0.5, None without objects;
            `precision_recall` {recall: R, precision: {class: R}} at overlap 0.5.

        Raises:
            AssertionError: no image at all, or one seen twice.
            RunError: the model gave a loss that is no number.
        """
        images = gather_samples(states)
        count = len(images["sample_id"])
        assert count > 0, "no image was evaluated"
        if not bool(images["losses"].isfinite().all()):
            raise RunError(f"The model gave a non-finite loss for sample_id {int(images['sample_id'][~images['losses'].isfinite()][0])}.")
        rows, curves = [], {}
        for k, name in enumerate(self.class_names):
            row, curve = _class_scores(name, k, images)
            rows.append(row)
            if curve is not None:
                curves[name] = curve
        found = [row for row in rows if row["objects"]]
        means = {f"mean_{name}": _mean([row[name] for row in found]) for name in _AVERAGES}
        loss = _mean(images["losses"].tolist())
        return {**means, "loss": loss, "samples": count, "detection": rows, "precision_recall": {"recall": RECALLS.tolist(), "precision": curves}}


_AVERAGES = ("average_precision_50", "average_precision_75", "average_precision")


def _hits(boxes: Tensor, labels: npt.NDArray[np.int64], true_boxes: Tensor, true_labels: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which detections of an image hit an object at each threshold: `(D, 4), (D,), (G, 4), (G,) -> (D, T)`; best score first."""
    shared = overlaps(boxes, true_boxes).numpy()
    hits, free = np.zeros((len(boxes), len(THRESHOLDS)), bool), np.ones((len(THRESHOLDS), len(true_boxes)), bool)
    every = np.arange(len(THRESHOLDS))
    for d in range(len(boxes) if len(true_boxes) else 0):
        if labels[d] < 0:
            break
        wanted = np.where(free & (true_labels == labels[d]), shared[d], -1.0)  # (T, G)
        # of equal overlaps COCO's loop keeps the last object
        best = wanted.shape[1] - 1 - wanted[:, ::-1].argmax(axis=1)
        hits[d] = wanted[every, best] >= np.minimum(THRESHOLDS, 1 - 1e-10)
        free[every[hits[d]], best[hits[d]]] = False
    return hits


def _class_scores(name: str, k: int, images: State) -> tuple[dict[str, Any], list[float] | None]:
    chosen, objects = images["labels"] == k, int(images["objects"][:, k].sum())
    # By image, then by score within it: of equal scores the lower sample_id goes first, so the order does not depend on the ranks.
    order = torch.argsort(images["scores"][chosen], descending=True, stable=True)
    scores, hits = images["scores"][chosen][order].numpy(), images["hits"][chosen][order].numpy()
    if not objects:
        return {"class": name, "objects": 0, **dict.fromkeys((*_AVERAGES, "precision", "recall", "score"))}, None
    curves = [precision_at(hits[:, t], objects) for t in range(len(THRESHOLDS))]
    averages = [_mean(curve.tolist()) for curve in curves]
    values = dict(zip(_AVERAGES, (averages[0], averages[5], _mean(averages)), strict=True))
    return {"class": name, "objects": objects, **values, **_best_point(scores, hits[:, 0], objects)}, curves[0].tolist()


def precision_at(hits: npt.NDArray[np.bool_], objects: int, recalls: npt.NDArray[np.float64] = RECALLS) -> npt.NDArray[np.float64]:
    """Return the precision at points of recall: the greatest that any threshold with at least that recall has, 0 where none has.

    Args:
        hits: `(N,)`, which detections are right, best score first.
        objects: how many there were to find, above 0.
        recalls: `(R,)`.

    Returns:
        `(R,)`; its mean is the average precision.
    """
    right = hits.cumsum()
    precision = np.maximum.accumulate((right / np.arange(1, len(hits) + 1))[::-1])[::-1]
    first = np.searchsorted(right / objects, recalls, side="left")
    return np.append(precision, 0.0)[first]


def _best_point(scores: npt.NDArray[np.float64], hits: npt.NDArray[np.bool_], objects: int) -> dict[str, float]:
    """Precision and recall where F1 = 2 hits / (detections + objects) is greatest, and the score above which that is."""
    if not len(hits):
        return {"precision": 0.0, "recall": 0.0, "score": 1.0}
    right, seen = hits.cumsum(), np.arange(1, len(hits) + 1)
    last = int((right / (seen + objects)).argmax())
    return {"precision": float(right[last] / seen[last]), "recall": float(right[last] / objects), "score": float(scores[last])}


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0
