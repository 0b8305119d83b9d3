"""Scores of pixels: against scikit-learn, on any number of workers, and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, f1_score, jaccard_score

from components.errors import RunError
from components.metrics.segmentation import Segmentation

NAMES = ["sky", "road", "car"]


def batches(seed: int = 0, count: int = 3) -> list[tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]]:
    rng = torch.Generator().manual_seed(seed)
    made = []
    for i in range(count):
        masks = torch.randint(0, 4, (2, 6, 5), generator=rng).to(torch.uint8)  # 3 is void
        outputs = {"predictions": torch.randint(0, 3, (2, 6, 5), generator=rng), "losses": torch.rand(2, generator=rng)}
        outputs["counts"] = (masks < 3).flatten(1).sum(1)
        made.append((outputs, {"masks": masks, "sample_id": torch.tensor([2 * i, 2 * i + 1])}))
    return made


def scores(parts, names=NAMES):
    metrics = [Segmentation(names) for _ in range(len(parts))]
    for metric, part in zip(metrics, parts, strict=True):
        for outputs, batch in part:
            metric.update(outputs, batch)
    return metrics[0].compute([metric.state() for metric in metrics])


def test_scores_are_scikit_learn_s():
    made = batches()
    true, found = (np.concatenate([np.asarray(x).ravel() for x in xs]) for xs in ([b["masks"] for _, b in made], [o["predictions"] for o, _ in made]))
    true, found = true[valid := true < 3], found[valid]
    result = scores([made])
    assert result["mean_iou"] == pytest.approx(jaccard_score(true, found, average="macro"), abs=1e-12)
    assert result["mean_dice"] == pytest.approx(f1_score(true, found, average="macro"), abs=1e-12)
    assert result["pixel_accuracy"] == pytest.approx(accuracy_score(true, found), abs=1e-12)
    assert result["mean_accuracy"] == pytest.approx(balanced_accuracy_score(true, found), abs=1e-12)
    assert result["pixel_confusion"] == confusion_matrix(true, found).tolist()
    assert [row["iou"] for row in result["per_class_iou"]] == pytest.approx(jaccard_score(true, found, average=None).tolist())
    assert result["pixels"] == len(true) and result["samples"] == 6


def test_any_number_of_workers_gives_the_same_to_the_bit():
    made = batches(1)
    assert scores([made]) == scores([[made[1]], [], [made[2], made[0]]])


def test_the_loss_is_the_mean_over_all_pixels():
    made = batches(2)
    total = sum(float(loss) * int(n) for o, _ in made for loss, n in zip(o["losses"], o["counts"], strict=True))
    assert scores([made])["loss"] == pytest.approx(total / sum(int(o["counts"].sum()) for o, _ in made))


def test_a_class_that_never_occurs_is_left_out_of_the_means():
    masks = torch.tensor([[[0, 0, 1, 3]]])
    outputs = {"predictions": torch.tensor([[[0, 1, 1, 2]]]), "losses": torch.zeros(1), "counts": torch.tensor([3])}
    result = scores([[(outputs, {"masks": masks, "sample_id": torch.tensor([0])})]])
    assert result["mean_iou"] == pytest.approx((1 / 2 + 1 / 2) / 2) and result["mean_accuracy"] == pytest.approx((1 / 2 + 1) / 2)
    assert result["per_class_iou"][2] == {"class": "car", "iou": None, "dice": None, "accuracy": None, "pixels": 0}


def test_faults_are_told():
    outputs, batch = batches(count=1)[0]
    with pytest.raises(AssertionError, match="lies outside"):
        Segmentation(NAMES).update({**outputs, "predictions": outputs["predictions"] + 3}, batch)
    with pytest.raises(AssertionError, match="6"):
        Segmentation(NAMES).update({**outputs, "predictions": outputs["predictions"][:, 1:]}, batch)
    with pytest.raises(RunError, match="non-finite"):
        scores([[({**outputs, "losses": torch.tensor([1.0, math.nan])}, batch)]])
    with pytest.raises(AssertionError, match="more than once"):
        scores([[(outputs, batch)], [(outputs, batch)]])
    with pytest.raises(AssertionError, match="no sample"):
        scores([[]])
