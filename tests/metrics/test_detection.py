"""Average precision: the notes' fixtures, COCO's own figures by another program, and the same bits on any number of ranks."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
import torch
from faster_coco_eval import COCO, COCOeval_faster

from components.errors import RunError
from components.metrics.detection import Detection, precision_at

CLASSES = ("a", "b", "c", "never")
IMAGES, MOST = 12, 6


def ragged(rows, width):
    offsets = torch.tensor([0, *np.cumsum([len(row) for row in rows])])
    return (torch.cat(rows) if len(torch.cat(rows)) else torch.zeros(0, *width)), offsets


@pytest.fixture
def pictures():
    """Objects, and detections near them with some missed, doubled, of a wrong class and invented; equal scores occur."""
    rng, found = np.random.default_rng(4), []
    for i in range(IMAGES):
        corners = rng.integers(0, 60, (rng.integers(0, 5) if i else 0, 2))
        boxes = np.concatenate([corners, corners + rng.integers(8, 40, corners.shape)], axis=1).astype(np.float32)
        labels = rng.integers(0, 3, len(boxes))
        near = np.concatenate([boxes, boxes[:1], rng.integers(0, 50, (2, 4))]) + rng.integers(-3, 4, (len(boxes) + len(boxes[:1]) + 2, 4))
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        guesses = np.concatenate([labels, labels[:1], rng.integers(0, 3, 2)])
        guesses[rng.random(len(guesses)) < 0.15] = 2
        scores = np.sort(rng.integers(1, 20, len(near)))[::-1] / 20
        order = rng.permutation(len(near))
        found.append((boxes, labels, near[order][:MOST].astype(np.float32), guesses[order][:MOST], scores[:MOST]))
    return found


def take(metric, pictures, ids):
    true_boxes, offsets = ragged([torch.from_numpy(pictures[i][0]) for i in ids], (4,))
    true_labels, _ = ragged([torch.from_numpy(pictures[i][1]) for i in ids], ())
    outputs = {
        "boxes": torch.zeros(len(ids), MOST, 4), "scores": torch.zeros(len(ids), MOST), "labels": torch.full((len(ids), MOST), -1),
        "losses": torch.tensor([0.1 * i for i in ids]),
    }  # fmt: skip
    for row, i in enumerate(ids):
        for name, values in zip(("boxes", "labels", "scores"), pictures[i][2:], strict=True):
            outputs[name][row, : len(values)] = torch.from_numpy(values.copy())
    metric.update(outputs, {"boxes": true_boxes, "boxes.offsets": offsets, "labels": true_labels.long(), "sample_id": torch.tensor(ids)})


def computed(pictures, *parts):
    metrics = [Detection(CLASSES, MOST) for _ in parts]
    for metric, batches in zip(metrics, parts, strict=True):
        for ids in batches:
            take(metric, pictures, ids)
    return metrics[0].compute([metric.state() for metric in metrics])


def sides_form(box):
    return [float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])]


def coco_figures(pictures):
    """Means at 0.5:0.95, 0.5 and 0.75, and each class's at 0.5, by faster-coco-eval."""
    objects = [
        {"id": 1000 * i + k + 1, "image_id": i + 1, "category_id": int(label) + 1, "bbox": sides_form(box), "area": 1000.0, "iscrowd": 0}
        for i, (boxes, labels, *_) in enumerate(pictures)
        for k, (box, label) in enumerate(zip(boxes, labels, strict=True))
    ]
    detections = [
        {"image_id": i + 1, "category_id": int(label) + 1, "bbox": sides_form(box), "score": float(np.float32(score))}
        for i, (_, _, boxes, labels, scores) in enumerate(pictures)
        for box, label, score in zip(boxes, labels, scores, strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": i + 1} for i in range(len(pictures))], "annotations": objects,
            "categories": [{"id": k + 1, "name": name} for k, name in enumerate(CLASSES)],
        }  # fmt: skip
        truth.createIndex()
        evaluation = COCOeval_faster(truth, truth.loadRes(detections), "bbox", print_function=lambda *_: None)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]  # (T, R, K)
    return evaluation.stats[:3], precision[0].mean(axis=0)


def test_it_is_coco_s_figure(pictures):
    found = computed(pictures, [list(range(IMAGES))])
    means, classes = coco_figures(pictures)
    assert 0.2 < found["mean_average_precision_50"] < 0.9
    assert [found[f"mean_average_precision{end}"] for end in ("", "_50", "_75")] == pytest.approx(list(means), abs=1e-9)
    assert [row["average_precision_50"] for row in found["detection"][:3]] == pytest.approx(list(classes[:3]), abs=1e-9)
    assert found["detection"][3] == {
        "class": "never", "objects": 0, "average_precision_50": None, "average_precision_75": None, "average_precision": None,
        "precision": None, "recall": None, "score": None,
    }  # fmt: skip


def test_any_number_of_ranks_gives_the_same_bits(pictures):
    whole = computed(pictures, [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11]])
    assert computed(pictures, [[5, 6, 7, 8, 9]], [[10, 11], [0, 1, 2, 3, 4]], []) == whole


def test_the_notes_ranking():
    """Notes 003 fixtures: right, wrong, right, right, wrong of four objects: 0.6136 at 11 points, 0.625 under the whole envelope."""
    hits = np.array([1, 0, 1, 1, 0], dtype=bool)
    assert precision_at(hits, 4, np.linspace(0, 1, 11)).mean() == pytest.approx(0.6136, abs=5e-5)
    dense = (np.arange(100_000) + 0.5) / 100_000
    assert precision_at(hits, 4, dense).mean() == pytest.approx(0.625, abs=1e-5)
    assert precision_at(np.zeros(0, bool), 4).tolist() == [0.0] * 101


def test_a_double_is_wrong_and_the_best_score_chooses_first():
    box = np.array([[0, 0, 10, 10]], np.float32)
    doubles = np.array([[0, 0, 10, 10], [0, 0, 10, 9]], np.float32)
    picture = (box, np.array([0]), doubles, np.array([0, 0]), np.array([0.75, 0.5]))
    row = computed([picture], [[0]])["detection"][0]
    assert (row["average_precision_50"], row["precision"], row["recall"], row["score"]) == (1.0, 1.0, 1.0, 0.75)
    worse_first = (box, np.array([0]), doubles[::-1], np.array([0, 0]), np.array([0.75, 0.5]))
    assert computed([worse_first], [[0]])["detection"][0]["average_precision"] == pytest.approx(0.95)  # at 0.95 the first is wrong


def test_a_loss_that_is_no_number_fails(pictures):
    metric = Detection(CLASSES, MOST)
    take(metric, pictures, [3])
    state = metric.state()
    state["losses"][0] = torch.nan
    with pytest.raises(RunError, match="sample_id 3"):
        metric.compute([state])
