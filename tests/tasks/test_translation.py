"""Translation: the loss by hand, what padding must not change, and predictions that know nothing of the target."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from components.data.card import Card, Column
from components.data.draws import Draws
from components.losses.classification import CrossEntropy
from components.models.language.transformer import Transformer
from components.tasks.base import StepContext
from components.tasks.translation import Translation

CLASSES = ("<pad>", "<bos>", "<eos>", "<unk>", "▁a", "▁b", "▁c")
COLUMNS = {name: Column("int32", ragged=True, classes=CLASSES) for name in ("source", "target")}
CARD = Card("pairs", "Pairs", "none", "none", {}, COLUMNS, {}, {})
WORDS = b"a bc"


@pytest.fixture
def task() -> Translation:
    return Translation(CrossEntropy(label_smoothing=0.1), CARD, max_tokens=6, beam_size=3)


@pytest.fixture
def model() -> Transformer:
    torch.manual_seed(0)
    return Transformer(7, max_tokens=8, layers=1, heads=2, hidden_dim=8, feedforward_dim=8, dropout=0.0).eval()


@pytest.fixture
def batch() -> dict[str, Tensor]:
    target = torch.tensor([[1, 4, 5, 6, 2], [1, 6, 2, 0, 0]], dtype=torch.int32)
    source = torch.tensor([[4, 6, 2], [5, 2, 0]], dtype=torch.int32)
    masks = {"source.mask": source > 0, "target.mask": target > 0}
    reference = {"reference": torch.tensor(list(WORDS), dtype=torch.uint8), "reference.offsets": torch.tensor([0, 2, 4])}
    return {"source": source, "target": target, "sample_id": torch.tensor([10, 11]), **masks, **reference}


def context(task: Translation, batch: dict[str, Tensor]) -> StepContext:
    return StepContext(task.phases[0], Draws(0, 0, batch["sample_id"]), step=0, epoch=0)


def test_the_loss_counts_real_tokens_and_no_padding(task, model, batch):
    assert int(task.counts(batch, context(task, batch))["loss"]) == 4 + 2
    logits = model(batch["source"].long(), batch["source.mask"], batch["target"][:, :-1].long())
    log_p = logits.log_softmax(2).detach()
    by_hand = 0.0
    for row, targets in enumerate([[4, 5, 6, 2], [6, 2]]):
        for place, token in enumerate(targets):
            by_hand -= 0.9 * float(log_p[row, place, token]) + 0.1 * float(log_p[row, place].mean())
    loss = task.losses({"model": model}, batch, context(task, batch))["loss"]
    assert loss.item() == pytest.approx(by_hand, rel=1e-5)


def test_a_batch_has_the_loss_of_its_rows(task, model, batch):
    parts = []
    for row, (source, target) in enumerate([(3, 5), (2, 3)]):
        widths = {"source": source, "source.mask": source, "target": target, "target.mask": target}
        one = {name: value[row : row + 1, : widths[name]] if name in widths else value[row : row + 1] for name, value in batch.items()}
        parts.append(task.losses({"model": model}, one, context(task, one))["loss"].item())
    assert task.losses({"model": model}, batch, context(task, batch))["loss"].item() == pytest.approx(sum(parts), rel=1e-5)


@torch.no_grad()
def test_predictions_are_unsmoothed_and_know_the_source_alone(task, model, batch):
    outputs = task.predict({"model": model}, batch)
    log_p = model(batch["source"].long(), batch["source.mask"], batch["target"][:, :-1].long()).log_softmax(2)
    assert float(outputs["losses"][1]) == pytest.approx(-float(log_p[1, 0, 6] + log_p[1, 1, 2]) / 2, rel=1e-5)
    assert outputs["tokens"].tolist() == [4, 2]
    assert outputs["hits"].tolist()[1] == int(log_p[1, 0].argmax() == 6) + int(log_p[1, 1].argmax() == 2)
    assert outputs["greedy"].shape == outputs["beam"].shape == (2, 6)
    other = {**batch, "target": torch.where(batch["target"] > 2, 4, batch["target"])}
    assert torch.equal(task.predict({"model": model}, other)["beam"], outputs["beam"])


@torch.no_grad()
def test_a_prediction_is_what_the_metric_takes_and_the_report_shows(task, model, batch):
    outputs, metric = task.predict({"model": model}, batch), task.metrics()
    metric.update(outputs, batch)
    scores = metric.compute([metric.state()])
    assert scores["samples"] == 2 and scores["tokens"] == 6 and 0 <= scores["bleu_beam"] <= 100
    assert set(task.samples(batch, outputs)) == {"sample_id", "losses", "greedy", "beam"}
    shown = task.gallery({"model": model}, batch, Draws(0, 0, batch["sample_id"]))
    assert torch.equal(shown["alignment.target"], outputs["greedy"])
    torch.testing.assert_close(shown["alignment.weights"].sum(2), torch.ones(2, 6))
    assert (shown["alignment.weights"][1, :, 2] == 0).all()


def test_it_learns_to_copy(task):
    torch.manual_seed(0)
    model = Transformer(7, max_tokens=8, layers=1, heads=2, hidden_dim=16, feedforward_dim=32, dropout=0.0)
    sentences = [[4, 5], [5, 4], [6, 6, 4], [5, 6, 5], [4, 4, 6], [6, 5]]
    source = torch.tensor([[*s, 2, *[0] * (3 - len(s))] for s in sentences])
    target = torch.tensor([[1, *s, 2, *[0] * (3 - len(s))] for s in sentences])
    batch = {"source": source, "target": target, "source.mask": source > 0, "target.mask": target > 0, "sample_id": torch.arange(6)}
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        loss = task.losses({"model": model}, batch, context(task, batch))["loss"] / 21
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        outputs = task.predict({"model": model.eval()}, batch)
    expected = [[*s, 2, *[0] * (5 - len(s))] for s in sentences]
    assert outputs["greedy"].tolist() == expected and outputs["beam"].tolist() == expected
    assert int(outputs["hits"].sum()) == 21 and float(outputs["losses"].max()) < math.log(7) / 2
