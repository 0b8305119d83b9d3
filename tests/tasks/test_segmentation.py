"""Segmentation: void pixels enter nothing, and sums over counts are means whatever the split into batches."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.data.card import Card, Column
from components.data.draws import Draws
from components.errors import UserError
from components.losses.classification import CrossEntropy
from components.losses.segmentation import Dice, PixelCrossEntropy
from components.tasks.base import StepContext
from components.tasks.segmentation import Segmentation

CARD = Card("street", "Street", "none", "none", {}, {"masks": Column("uint8", (6, 8), classes=("road", "car", "void"))}, {}, {})


@pytest.fixture
def batch() -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(0)
    masks = torch.randint(0, 3, (4, 6, 8), generator=rng).to(torch.uint8)
    masks[3] = 2  # nothing but void
    return {"inputs": torch.randn(4, 3, 6, 8, generator=rng), "masks": masks, "sample_id": torch.arange(4)}


@pytest.fixture
def networks() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {"model": nn.Conv2d(3, 2, 3, padding=1)}


def context(task: Segmentation, rows: int = 4) -> StepContext:
    return StepContext(task.phases[0], Draws(0, 0, torch.arange(rows)), step=0, epoch=0)


def test_the_mean_is_torch_s_over_the_pixels_that_count(batch, networks):
    task = Segmentation(PixelCrossEntropy(), CARD, void="void")
    counts, sums = task.counts(batch, context(task)), task.losses(networks, batch, context(task))
    expected = F.cross_entropy(networks["model"](batch["inputs"]), batch["masks"].long(), ignore_index=2)
    torch.testing.assert_close(sums["loss"] / counts["loss"], expected)
    assert int(counts["loss"]) == int((batch["masks"] < 2).sum())


@pytest.mark.parametrize("loss", [PixelCrossEntropy([1.0, 5.0]), Dice()])
def test_two_halves_give_what_the_whole_gives(batch, networks, loss):
    task = Segmentation(loss, CARD, void="void")
    halves = [{name: value[rows] for name, value in batch.items()} for rows in (slice(0, 1), slice(1, 4))]
    sums, counts = (
        [part(half) for half in halves]
        for part in (lambda b: task.losses(networks, b, context(task))["loss"], lambda b: task.counts(b, None)["loss"])
    )
    whole = task.losses(networks, batch, context(task))["loss"] / task.counts(batch, context(task))["loss"]
    torch.testing.assert_close(sum(sums) / sum(counts), whole)


def test_predictions_are_judged_without_void(batch, networks):
    task = Segmentation(PixelCrossEntropy(), CARD, void="void")
    with torch.no_grad():
        outputs = task.predict(networks, batch)
        expected = F.cross_entropy(networks["model"](batch["inputs"]), batch["masks"].long(), ignore_index=2)
    assert outputs["predictions"].max() < 2 and outputs["losses"].isfinite().all() and outputs["losses"][3] == 0
    metric = task.metrics()
    metric.update(outputs, batch)
    scores = metric.compute([metric.state()])
    valid = batch["masks"] < 2
    assert scores["pixel_accuracy"] == pytest.approx(float((outputs["predictions"] == batch["masks"])[valid].float().mean()))
    assert scores["loss"] == pytest.approx(float(expected), rel=1e-5)
    shown = task.samples(batch, outputs)
    assert shown["predictions"].dtype == torch.uint8 and torch.equal(shown["masks"], batch["masks"])


def test_without_a_void_class_every_pixel_counts(batch):
    task = Segmentation(PixelCrossEntropy(), CARD)
    assert int(task.counts(batch, context(task))["loss"]) == batch["masks"].numel() and task.class_names == ["road", "car", "void"]


def test_what_does_not_fit_is_told(batch, networks):
    with pytest.raises(UserError, match="a loss of its own"):
        Segmentation(CrossEntropy(), CARD)
    with pytest.raises(UserError, match="last class"):
        Segmentation(Dice(), CARD, void="road")
    with pytest.raises(UserError, match="do not lie on the masks"):
        Segmentation(Dice(), CARD, void="void").predict({"model": nn.Conv2d(3, 2, 3)}, batch)
