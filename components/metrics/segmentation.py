"""Scores of segmentation: one label a pixel. N samples, K classes, H, W pixels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from components.errors import RunError
from components.metrics.base import Metric, State, gather_samples
from components.metrics.classification import confusion_matrix

_COLUMNS = {"sample_id": torch.int64, "losses": torch.float64, "counts": torch.float64}


class Segmentation(Metric):
    """Scores over the pixels of a whole split; a pixel whose target lies outside [0, K) has none (void).

    Pixels are counted, so the figures are exact on any number of workers. The mean IoU is that of PASCAL VOC and SegNet: the
    counts are summed over the split first, then divided, class by class.

    Args:
        class_names: K names in label order.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self.class_names = list(class_names)
        self._confusion = torch.zeros(len(self.class_names), len(self.class_names), dtype=torch.int64)
        self._batches: list[State] = []

    def update(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> None:
        """Take one batch.

        Args:
            outputs: `predictions (B, H, W)` in [0, K); `losses (B,)`, the mean criterion of each sample, over its own `counts (B,)`.
            batch: `masks (B, H, W)` of any integer type, `sample_id` int64 `(B,)`.

        Raises:
            AssertionError: predictions of another shape than the masks, or one outside [0, K).
        """
        targets, predictions = batch["masks"].detach().long(), outputs["predictions"].detach().long()
        count = len(self.class_names)
        assert predictions.shape == targets.shape, (tuple(predictions.shape), tuple(targets.shape))
        assert bool(((predictions >= 0) & (predictions < count)).all()), f"a prediction lies outside [0, {count})"
        valid = (targets >= 0) & (targets < count)
        self._confusion += confusion_matrix(targets[valid], predictions[valid], count).cpu()
        self._batches.append({"sample_id": batch["sample_id"].detach().cpu(), **{k: outputs[k].detach().cpu() for k in ("losses", "counts")}})

    def state(self) -> State:
        """Return this rank's `confusion (K, K)` int64, and of its samples `sample_id`, `losses`, `counts`, `(n_rank,)` each."""
        nothing = {name: torch.empty(0, dtype=dtype) for name, dtype in _COLUMNS.items()}
        columns = {name: torch.cat([empty, *(part[name].to(empty.dtype) for part in self._batches)]) for name, empty in nothing.items()}
        return {"confusion": self._confusion, **columns}

    def compute(self, states: Sequence[State]) -> dict[str, Any]:
        """Return the scores over all ranks' pixels.

        Returns:
            Floats `mean_iou` and `mean_dice` (over the classes that occur, as truth or as prediction), `pixel_accuracy`,
            `mean_accuracy` (of the classes that occur as truth; SegNet's "class average"), `loss` (the training criterion);
            `pixels` (valid ones), `samples` (N); `per_class_iou` [{class, iou, dice, accuracy, pixels}], None where a class never occurs;
            `pixel_confusion` K rows (true) of K integers (predicted).

        Raises:
            AssertionError: no sample at all, or one seen twice.
            RunError: the model gave a NaN or an infinite loss.
        """
        confusion = torch.stack([state["confusion"] for state in states]).sum(0)
        samples = gather_samples([{name: state[name] for name in _COLUMNS} for state in states])
        assert len(samples["sample_id"]) > 0, "no sample was evaluated"
        bad = samples["sample_id"][~samples["losses"].isfinite()]
        if len(bad):
            raise RunError(f"The model gave a non-finite loss for {len(bad)} of {len(samples['losses'])} samples, first sample_id {int(bad[0])}.")
        rows = class_overlaps(confusion, self.class_names)
        return {
            "mean_iou": _mean(row["iou"] for row in rows),
            "mean_dice": _mean(row["dice"] for row in rows),
            "pixel_accuracy": _ratio(int(confusion.diagonal().sum()), int(confusion.sum())) or 0.0,
            "mean_accuracy": _mean(row["accuracy"] for row in rows),
            # fsum is correctly rounded. torch.sum is not the same to the bit for another number of threads.
            "loss": math.fsum((samples["losses"] * samples["counts"]).tolist()) / max(math.fsum(samples["counts"].tolist()), 1e-300),
            "pixels": int(confusion.sum()),
            "samples": len(samples["sample_id"]),
            "per_class_iou": rows,
            "pixel_confusion": confusion.tolist(),
        }


def class_overlaps(confusion: Tensor, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """Return one row a class from a `(K, K)` matrix of pixels, rows true.

    IoU = TP / (TP + FP + FN) (Jaccard), Dice = 2 TP / (2 TP + FP + FN) (notes 004 line 875, there called a loss: erratum E24),
    accuracy = TP / (TP + FN); None where the denominator is 0.
    """
    rows = []
    for k, name in enumerate(class_names):
        hits, true, found = int(confusion[k, k]), int(confusion[k].sum()), int(confusion[:, k].sum())
        ratios = {"iou": _ratio(hits, true + found - hits), "dice": _ratio(2 * hits, true + found), "accuracy": _ratio(hits, true)}
        rows.append({"class": name, **ratios, "pixels": true})
    return rows


def _ratio(numerator: int, denominator: int) -> float | None:
    return numerator / denominator if denominator else None


def _mean(values: Iterable[float | None]) -> float:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else 0.0
