"""The detection task: its terms add up, and what it predicts is what the targets say when the model says it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from components.data.card import Card, Column
from components.data.draws import Draws
from components.losses.yolo import YoloLoss
from components.models.detection.yolo import Yolo
from components.tasks.base import StepContext
from components.tasks.detection import Detection

ANCHORS = [[8.0, 8.0], [20.0, 16.0]]
CARD = Card("x", "X", "none", "none", {}, {"labels": Column("int64", ragged=True, classes=("a", "b", "c"))}, {}, {})


@pytest.fixture
def task() -> Detection:
    return Detection(YoloLoss(), CARD, ANCHORS, stride=8, most_detections=4)


@pytest.fixture
def batch():
    boxes = torch.tensor([[1.0, 1.0, 9.0, 9.0], [8.0, 4.0, 28.0, 20.0], [0.0, 0.0, 0.0, 0.0], [20.0, 10.0, 30.0, 20.0]])
    inputs = torch.randn(3, 3, 24, 32, generator=torch.Generator().manual_seed(0))
    offsets, labels = torch.tensor([0, 2, 3, 4]), torch.tensor([0, 2, 1, 1])
    return {"inputs": inputs, "boxes": boxes, "boxes.offsets": offsets, "labels": labels, "labels.offsets": offsets, "sample_id": torch.arange(3)}


def part(batch, row):
    own = slice(*batch["boxes.offsets"][row : row + 2].tolist())
    offsets = torch.tensor([0, own.stop - own.start])
    ragged = {"boxes": batch["boxes"][own], "labels": batch["labels"][own], "boxes.offsets": offsets, "labels.offsets": offsets}
    return {**ragged, "inputs": batch["inputs"][row : row + 1], "sample_id": batch["sample_id"][row : row + 1]}


def test_counts_and_terms_add_up_over_images(task, batch):
    torch.manual_seed(0)
    model, context = Yolo(3, 2, [4, 6, 8], [0, 1, 0]).eval(), StepContext(task.phases[0], Draws(0, 0, torch.arange(3)), 0, 0)
    counts, terms = task.counts(batch, context), task.losses({"model": model}, batch, context)
    assert counts.keys() == terms.keys() and {int(value) for value in counts.values()} == {3}  # the second image's box has no area
    for name, value in terms.items():
        alone = sum(task.losses({"model": model}, part(batch, row), context)[name] for row in range(3))
        assert alone.item() == pytest.approx(value.item(), rel=1e-5), name
    losses = task.predict({"model": model}, batch)["losses"]
    assert losses[0].item() == pytest.approx(sum(v.item() for v in task.losses({"model": model}, part(batch, 0), context).values()) / 2, rel=1e-5)


class Says(nn.Module):
    """Puts out what it was given."""

    def __init__(self, outputs):
        super().__init__()
        self.outputs = outputs

    def forward(self, inputs):
        return self.outputs[: len(inputs)]


def test_a_perfect_model_finds_everything(task, batch):
    targets = task.codec.encode(batch["boxes"], batch["boxes.offsets"], batch["labels"], (24, 32))
    places = torch.full((3, 2 * 3 * 4, 8), -15.0)
    classes = 30.0 * nn.functional.one_hot(targets.labels, 3)
    wanted = torch.cat([targets.offsets.clamp(1e-6, 1 - 1e-6).logit(), targets.logs, torch.full((4, 1), 15.0), classes], dim=1)
    places[targets.image[targets.kept], targets.place[targets.kept]] = wanted[targets.kept]
    model = Says(places.reshape(3, 2, 3, 4, 8).permute(0, 1, 4, 2, 3).flatten(1, 2))
    outputs = task.predict({"model": model}, batch)
    assert (outputs["labels"] >= 0).sum(1).tolist() == [2, 0, 1] and outputs["losses"].max() < 1e-4
    metric, kept = task.metrics(), targets.kept
    offsets = torch.tensor([0, 2, 2, 3])
    metric.update(outputs, {**batch, "boxes": batch["boxes"][kept], "labels": batch["labels"][kept], "boxes.offsets": offsets})
    assert metric.compute([metric.state()])["mean_average_precision"] == 1.0
    shown = task.samples(batch, outputs)
    assert shown["found_boxes"].shape == (3, 4, 4) and shown["losses"].shape == (3,)
