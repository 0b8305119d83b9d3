"""The classification metric against scikit-learn, torchmetrics, hand-worked numbers, and itself on more ranks."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from components.errors import RunError, UserError
from components.metrics.classification import Classification, calibration_bins, class_scores, expected_calibration_error

SAMPLES, CLASSES = 403, 7


def _problem(samples: int = SAMPLES, classes: int = CLASSES) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (N, K) that know something of their targets (N,); class K-1 is never predicted."""
    generator = torch.Generator().manual_seed(3)
    targets = torch.randint(0, classes, (samples,), generator=generator)
    logits = 2 * torch.randn(samples, classes, generator=generator) + 3 * torch.nn.functional.one_hot(targets, classes)
    logits[:, -1] -= 20
    return logits, targets


def _update(metric: Classification, logits: torch.Tensor, targets: torch.Tensor, ids: torch.Tensor) -> None:
    losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none", label_smoothing=0.1)
    metric.update({"logits": logits, "losses": losses}, {"targets": targets, "sample_id": ids})


def _dealt(logits: torch.Tensor, targets: torch.Tensor, batch_size: int, world: int) -> list[dict[str, torch.Tensor]]:
    """Deal whole batches to ranks as the evaluator does: batch i to rank i mod world."""
    ranks = [Classification(logits.shape[1]) for _ in range(world)]
    for i, ids in enumerate(torch.split(torch.arange(len(targets)), batch_size)):
        _update(ranks[i % world], logits[ids], targets[ids], ids)
    return [rank.state() for rank in ranks]


def _scores(logits: torch.Tensor, targets: torch.Tensor) -> dict[str, Any]:
    return Classification(logits.shape[1]).compute(_dealt(logits, targets, batch_size=64, world=1))


def test_scores_equal_scikit_learn() -> None:
    logits, targets = _problem()
    scores = _scores(logits, targets)
    probabilities = torch.softmax(logits.double(), dim=1).numpy()
    true, predicted, labels = targets.numpy(), logits.argmax(dim=1).numpy(), np.arange(CLASSES)
    assert scores["accuracy"] == sklearn.metrics.accuracy_score(true, predicted)
    assert scores["top5_accuracy"] == sklearn.metrics.top_k_accuracy_score(true, probabilities, k=5, labels=labels)
    assert scores["confusion"] == sklearn.metrics.confusion_matrix(true, predicted, labels=labels).tolist()
    precision, recall, f1, support = sklearn.metrics.precision_recall_fscore_support(true, predicted, labels=labels, zero_division=0)
    for k, row in enumerate(scores["per_class"]):
        assert (row["class"], row["support"]) == (str(k), support[k])
        assert (row["precision"], row["recall"], row["f1"]) == pytest.approx((precision[k], recall[k], f1[k]), abs=1e-15)
    assert scores["macro_precision"] == pytest.approx(precision.mean(), abs=1e-15)
    assert scores["macro_recall"] == pytest.approx(sklearn.metrics.recall_score(true, predicted, average="macro"), abs=1e-15)
    assert scores["macro_f1"] == pytest.approx(f1.mean(), abs=1e-15)
    assert scores["negative_log_likelihood"] == pytest.approx(sklearn.metrics.log_loss(true, probabilities, labels=labels), rel=1e-12)
    brier = sklearn.metrics.brier_score_loss(true, probabilities, labels=labels, scale_by_half=False)
    assert scores["brier_score"] == pytest.approx(brier, rel=1e-12)


def test_a_class_never_predicted_has_precision_zero() -> None:
    scores = _scores(*_problem())
    last = scores["per_class"][-1]
    assert last["support"] > 0
    assert (last["precision"], last["recall"], last["f1"]) == (0.0, 0.0, 0.0)


def test_calibration_error_equals_torchmetrics() -> None:
    from torchmetrics.functional import classification as reference  # two seconds, of this process alone

    logits, targets = _problem()
    probabilities = torch.softmax(logits.double(), dim=1)
    expected = reference.multiclass_calibration_error(probabilities, targets, num_classes=CLASSES, n_bins=15, norm="l1")
    scores = _scores(logits, targets)
    assert scores["expected_calibration_error"] == pytest.approx(float(expected), abs=1e-7)
    assert len(scores["calibration"]) == 15
    assert sum(row["count"] for row in scores["calibration"]) == SAMPLES


def test_calibration_by_hand() -> None:
    # two bins: 0.2 (right) and 0.5 (wrong, on the closed upper edge) in the first, 0.9 (right) in the second
    confidences = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    bins = calibration_bins(confidences, torch.tensor([True, False, True]), count=2)
    assert [row["count"] for row in bins] == [2, 1]
    assert (bins[0]["accuracy"], bins[0]["confidence"]) == (0.5, pytest.approx(0.35))
    assert expected_calibration_error(bins) == pytest.approx(2 / 3 * 0.15 + 1 / 3 * 0.1)
    assert calibration_bins(confidences[:0], torch.tensor([], dtype=torch.bool), count=1) == [
        {"lower": 0.0, "upper": 1.0, "count": 0, "accuracy": None, "confidence": None}
    ]


def test_class_scores_by_hand() -> None:
    # class a: TP 3, FN 1, FP 2; class b: TP 4, FN 2, FP 1; class c: no sample, never predicted
    rows = class_scores(torch.tensor([[3, 1, 0], [2, 4, 0], [0, 0, 0]]), ["a", "b", "c"])
    assert rows[0] == {"class": "a", "precision": 3 / 5, "recall": 3 / 4, "f1": 6 / 9, "support": 4}
    assert rows[1] == {"class": "b", "precision": 4 / 5, "recall": 4 / 6, "f1": 8 / 11, "support": 6}
    assert rows[2] == {"class": "c", "precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}


def test_probabilities_by_hand() -> None:
    metric = Classification(2, ["no", "yes"])
    outputs = {"probabilities": torch.tensor([[0.75, 0.25], [1.0, 0.0]]), "losses": torch.tensor([1.0, 2.0])}
    metric.update(outputs, {"targets": torch.tensor([0, 1]), "sample_id": torch.tensor([5, 4])})
    scores = metric.compute([metric.state()])
    assert scores["accuracy"] == 0.5
    assert scores["loss"] == 1.5
    assert scores["brier_score"] == pytest.approx((2 * 0.25**2 + 2) / 2)
    # a probability of zero is clipped at float64's epsilon
    assert scores["negative_log_likelihood"] == pytest.approx((-math.log(0.75) - math.log(np.finfo(np.float64).eps)) / 2)
    assert "top5_accuracy" not in scores


def test_the_loss_is_the_mean_of_the_tasks_own_losses() -> None:
    logits, targets = _problem()
    expected = torch.nn.functional.cross_entropy(logits, targets, label_smoothing=0.1)
    assert _scores(logits, targets)["loss"] == pytest.approx(float(expected), rel=1e-6)


def test_ties_are_won_by_the_lower_label() -> None:
    metric = Classification(6)
    outputs = {"logits": torch.zeros(6, 6), "losses": torch.zeros(6)}
    metric.update(outputs, {"targets": torch.arange(6), "sample_id": torch.arange(6)})
    scores = metric.compute([metric.state()])
    assert (scores["accuracy"], scores["top5_accuracy"]) == (1 / 6, 5 / 6)


@settings(max_examples=30, deadline=None)
@given(samples=st.integers(1, 120), classes=st.integers(2, 9), batch_size=st.integers(1, 40))
def test_any_dealing_of_batches_gives_the_same_bits(samples: int, classes: int, batch_size: int) -> None:
    logits, targets = _problem(samples, classes)
    one, two, three = (Classification(classes).compute(_dealt(logits, targets, batch_size, world)) for world in (1, 2, 3))
    assert one == two == three


def test_the_number_of_threads_changes_no_bit() -> None:
    # torch.sum of 333,333 values is split among threads, and the split changes its last bits
    logits, targets = _problem(333_333, 2)
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2):
            torch.set_num_threads(count)
            results.append(Classification(2).compute(_dealt(logits, targets, batch_size=16_384, world=1)))
    finally:
        torch.set_num_threads(threads)
    assert results[0] == results[1]


def test_a_rank_without_a_batch_has_an_empty_state_of_the_same_types() -> None:
    logits, targets = _problem(5)
    full, empty = _dealt(logits, targets, batch_size=5, world=2)
    assert {name: value.dtype for name, value in full.items()} == {name: value.dtype for name, value in empty.items()}
    assert all(len(value) == 0 for value in empty.values())


def test_a_sample_seen_twice_is_an_internal_error() -> None:
    logits, targets = _problem(8)
    state = _dealt(logits, targets, batch_size=8, world=1)[0]
    with pytest.raises(AssertionError, match="more than once: sample_id 0, 1, 2, 3, 4"):
        Classification(CLASSES).compute([state, state])


def test_no_sample_at_all_is_an_internal_error() -> None:
    with pytest.raises(AssertionError, match="no sample"):
        Classification(3).compute([Classification(3).state()])


def test_a_target_or_shape_out_of_range_is_an_internal_error() -> None:
    for classes, target in ((3, 3), (3, -1), (4, 0)):
        with pytest.raises(AssertionError):
            outputs = {"logits": torch.zeros(1, 3), "losses": torch.zeros(1)}
            Classification(classes).update(outputs, {"targets": torch.tensor([target]), "sample_id": torch.tensor([0])})


def test_a_diverged_model_is_a_failed_run() -> None:
    metric = Classification(2)
    outputs = {"logits": torch.tensor([[0.0, 1.0], [float("nan"), 0.0]]), "losses": torch.tensor([1.0, 1.0])}
    metric.update(outputs, {"targets": torch.tensor([0, 1]), "sample_id": torch.tensor([6, 9])})
    with pytest.raises(RunError, match="1 of 2 samples, first sample_id 9"):
        metric.compute([metric.state()])


def test_the_result_is_plain_data() -> None:
    scores = _scores(*_problem())
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores


def test_names_must_fit_the_classes() -> None:
    with pytest.raises(UserError, match="2 names, num_classes=3"):
        Classification(3, ["a", "b"])


def test_average_precision_and_area_of_each_class_against_the_rest_are_scikit_learn_s():
    from sklearn.metrics import average_precision_score, roc_auc_score

    generator = torch.Generator().manual_seed(4)
    logits, targets = torch.randn(40, 3, generator=generator), torch.randint(0, 3, (40,), generator=generator)
    metric = Classification(3)
    metric.update({"logits": logits, "losses": torch.zeros(40)}, {"targets": targets, "sample_id": torch.arange(40)})
    found = metric.compute([metric.state()])
    probabilities = logits.double().softmax(1)
    for k, row in enumerate(found["per_class"]):
        assert row["average_precision"] == pytest.approx(average_precision_score(targets == k, probabilities[:, k]))
        assert row["roc_auc"] == pytest.approx(roc_auc_score(targets == k, probabilities[:, k]))
    assert found["macro_average_precision"] == pytest.approx(sum(r["average_precision"] for r in found["per_class"]) / 3)
    many = Classification(65)
    many.update({"logits": torch.randn(2, 65), "losses": torch.zeros(2)}, {"targets": torch.tensor([0, 1]), "sample_id": torch.arange(2)})
    assert many.state()["probabilities"].shape == (2, 0) and "macro_average_precision" not in many.compute([many.state()])
