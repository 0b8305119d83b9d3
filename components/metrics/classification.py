"""Single-label classification: accuracy, per-class scores, confusion matrix and calibration. N samples, K classes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from components.errors import RunError, UserError
from components.metrics.base import Metric, State, gather_samples
from components.metrics.ranking import average_precision, roc_auc

CALIBRATION_BINS = 15
RANKED_CLASSES = 64  # with more, every sample's probabilities would be too much to exchange: no average precision then
_COLUMNS = {
    "sample_id": torch.int64,
    "targets": torch.int64,
    "predictions": torch.int64,
    "ranks": torch.int64,  # how many classes stand before the true one, 0 = predicted
    "confidences": torch.float64,  # probability of the predicted class
    "losses": torch.float64,
    "log_losses": torch.float64,  # -log probability of the true class, nats
    "brier": torch.float64,  # squared distance of the probabilities from the one-hot target
}


class Classification(Metric):
    """Scores of a classifier over samples that carry one label each.

    Args:
        num_classes: K.
        class_names: K names in label order; None names them "0" ... "K-1".

    Raises:
        UserError: the number of names is not K.
    """

    def __init__(self, num_classes: int, class_names: Sequence[str] | None = None) -> None:
        names = [str(k) for k in range(num_classes)] if class_names is None else list(class_names)
        if len(names) != num_classes:
            raise UserError(
                "The class names do not fit the number of classes.",
                received=f"{len(names)} names, num_classes={num_classes}",
                expected="one name a class",
                mend="look at `classes` of the targets column in the data's card.json",
            )
        self.num_classes = num_classes
        self.class_names = names
        self._ranked = num_classes if num_classes <= RANKED_CLASSES else 0
        self._batches: list[State] = []

    def update(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> None:
        """Take one batch.

        Args:
            outputs: `logits` or `probabilities` `(B, K)`, and `losses` `(B,)`, the training criterion of each sample.
            batch: `targets` int64 `(B,)` in [0, K), `sample_id` int64 `(B,)`.

        Raises:
            AssertionError: scores of another shape than `(B, K)`, or a target outside [0, K).
        """
        targets = batch["targets"].detach().cpu().long()
        scores, probabilities, log_probabilities = _scores(outputs)
        assert scores.shape == (len(targets), self.num_classes), (tuple(scores.shape), len(targets), self.num_classes)
        assert bool(((targets >= 0) & (targets < self.num_classes)).all()), f"a target lies outside [0, {self.num_classes})"
        predictions = scores.argmax(dim=1)
        one_hot = torch.nn.functional.one_hot(targets, self.num_classes)
        self._batches.append(
            {
                "sample_id": batch["sample_id"].detach().cpu().long(),
                "targets": targets,
                "predictions": predictions,
                "ranks": _ranks(scores, targets),
                "confidences": probabilities.gather(1, predictions[:, None]).squeeze(1),
                "losses": outputs["losses"].detach().cpu().double(),
                "log_losses": -log_probabilities.gather(1, targets[:, None]).squeeze(1),
                "brier": (probabilities - one_hot).square().sum(dim=1),
                "probabilities": probabilities[:, : self._ranked],
            }
        )

    def state(self) -> State:
        """Return this rank's samples, each tensor `(n_rank, ...)`: sample_id, targets, predictions, losses and what calibration needs."""
        empty = {name: torch.empty(0, dtype=dtype) for name, dtype in _COLUMNS.items()}
        empty["probabilities"] = torch.empty(0, self._ranked, dtype=torch.float64)
        return {name: torch.cat([nothing, *(part[name] for part in self._batches)]) for name, nothing in empty.items()}

    def compute(self, states: Sequence[State]) -> dict[str, Any]:
        """Return the scores over all ranks' samples.

        Division by zero is 0, as in scikit-learn with `zero_division=0`: the precision of a class that was never predicted, the recall of
        a class without samples. Macro means run over all K classes, seen or not.

        Returns:
            Floats `accuracy`, `top5_accuracy` (only where K > 5; a tie is won by the lower label), `loss`, `macro_precision`,
            `macro_recall`, `macro_f1`, `macro_average_precision` (a class against the rest, where K <= 64), `expected_calibration_error`,
            `brier_score` (0 to 2; Brier 1950), `negative_log_likelihood` (nats); `samples` (N);
            `per_class` [{class, precision, recall, f1, support, average_precision, roc_auc}];
            `confusion` K rows (true) of K integers (predicted);
            `calibration`, the bins of `calibration_bins`.

        Raises:
            AssertionError: no sample at all, or one seen twice.
            RunError: the model gave a NaN or an infinite loss.
        """
        samples = gather_samples(states)
        count = len(samples["sample_id"])
        assert count > 0, "no sample was evaluated"
        _refuse_non_finite(samples)
        confusion = confusion_matrix(samples["targets"], samples["predictions"], self.num_classes)
        per_class = class_scores(confusion, self.class_names)
        for k, row in enumerate(per_class[: self._ranked]):
            positives, ranked_by = samples["targets"] == k, samples["probabilities"][:, k]
            row |= {"average_precision": average_precision(ranked_by, positives), "roc_auc": roc_auc(ranked_by, positives)}
        bins = calibration_bins(samples["confidences"], samples["targets"] == samples["predictions"])
        scores: dict[str, Any] = {"accuracy": int(confusion.diagonal().sum()) / count}
        if self.num_classes > 5:
            scores["top5_accuracy"] = int((samples["ranks"] < 5).sum()) / count
        scores["loss"] = _mean(samples["losses"])
        for name in ("precision", "recall", "f1"):
            scores[f"macro_{name}"] = math.fsum(row[name] for row in per_class) / self.num_classes
        if self._ranked:
            scores["macro_average_precision"] = math.fsum(row["average_precision"] for row in per_class) / self.num_classes
        scores["expected_calibration_error"] = expected_calibration_error(bins)
        scores["brier_score"] = _mean(samples["brier"])
        scores["negative_log_likelihood"] = _mean(samples["log_losses"])
        return {**scores, "samples": count, "per_class": per_class, "confusion": confusion.tolist(), "calibration": bins}


def confusion_matrix(targets: Tensor, predictions: Tensor, num_classes: int) -> Tensor:
    """Count pairs of labels: `(N,), (N,) -> (K, K)` int64, rows = true class, columns = predicted class."""
    return torch.bincount(targets * num_classes + predictions, minlength=num_classes**2).reshape(num_classes, num_classes)


def class_scores(confusion: Tensor, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """Return one row a class from a `(K, K)` confusion matrix.

    precision = TP / (TP + FP), recall = TP / (TP + FN), F1 = 2 TP / (2 TP + FP + FN); 0 where the denominator is 0.
    """
    rows = []
    for k, name in enumerate(class_names):
        hits, predicted, support = int(confusion[k, k]), int(confusion[:, k].sum()), int(confusion[k].sum())
        rows.append(
            {
                "class": name,
                "precision": _ratio(hits, predicted),
                "recall": _ratio(hits, support),
                "f1": _ratio(2 * hits, predicted + support),
                "support": support,
            }
        )
    return rows


def calibration_bins(confidences: Tensor, correct: Tensor, count: int = CALIBRATION_BINS) -> list[dict[str, Any]]:
    """Sort predictions into equal-width bins of confidence: `(N,)` float64, `(N,)` bool.

    Bin m of M holds the confidences in ((m-1)/M, m/M] (Guo et al. 2017, "On Calibration of Modern Neural Networks").

    Returns:
        M rows {lower, upper, count, accuracy, confidence}; the two means are None in an empty bin.
    """
    edges = torch.linspace(0, 1, count + 1, dtype=torch.float64)
    member = torch.bucketize(confidences, edges[1:-1])
    bins = []
    for m in range(count):
        inside = member == m
        size = int(inside.sum())
        bins.append(
            {
                "lower": m / count,
                "upper": (m + 1) / count,
                "count": size,
                "accuracy": int(correct[inside].sum()) / size if size else None,
                "confidence": _mean(confidences[inside]) if size else None,
            }
        )
    return bins


def expected_calibration_error(bins: Sequence[Mapping[str, Any]]) -> float:
    """Return ECE = sum over bins of (n_m / N) |accuracy_m - confidence_m| (Guo et al. 2017), from `calibration_bins`."""
    total = sum(row["count"] for row in bins)
    return math.fsum(row["count"] / total * abs(row["accuracy"] - row["confidence"]) for row in bins if row["count"])


def _scores(outputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Return what the classes are ranked by, their probabilities and the logarithms of these, each float64 `(B, K)` on the CPU.

    Given probabilities are clipped at float64's epsilon before the logarithm, as scikit-learn's log_loss does.
    """
    if "logits" in outputs:
        logits = outputs["logits"].detach().cpu().double()
        log_probabilities = torch.log_softmax(logits, dim=1)
        return logits, log_probabilities.exp(), log_probabilities
    probabilities = outputs["probabilities"].detach().cpu().double()
    return probabilities, probabilities, probabilities.clamp(min=torch.finfo(torch.float64).eps).log()


def _ranks(scores: Tensor, targets: Tensor) -> Tensor:
    """Return how many classes stand before the true one, `(B, K), (B,) -> (B,)`; equal scores are ordered by label, as argmax does."""
    own = scores.gather(1, targets[:, None])
    earlier = torch.arange(scores.shape[1]) < targets[:, None]
    return ((scores > own) | ((scores == own) & earlier)).sum(dim=1)


def _refuse_non_finite(samples: State) -> None:
    bad = samples["sample_id"][~(samples["losses"].isfinite() & samples["log_losses"].isfinite())]
    if len(bad):
        raise RunError(f"The model gave a non-finite loss for {len(bad)} of {len(samples['losses'])} samples, first sample_id {int(bad[0])}.")


def _mean(values: Tensor) -> float:
    # fsum is correctly rounded. torch.sum is not the same to the bit for another number of threads.
    return math.fsum(values.tolist()) / len(values)


def _ratio(numerator: int, denominator: int) -> float:
    return numerator / denominator if denominator else 0.0
