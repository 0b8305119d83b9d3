"""What counts in node classification; a cloud's slices and critical points."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from components.data.points import in_unit_sphere
from components.errors import UserError
from components.losses.classification import CrossEntropy
from components.models.points.pointnet import PointNet
from components.tasks.node_classification import NodeClassification, principal_plane
from components.tasks.point_classification import PointClassification, critical


class Table(nn.Module):
    """Logits that are given."""

    def __init__(self, logits):
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, inputs, edges):
        return self.logits


def card(points=20):
    names = ("a", "b", "c")
    return SimpleNamespace(classes=lambda column: names, columns={"inputs": SimpleNamespace(shape=(points, 3))})


@pytest.fixture
def nodes():
    generator = torch.Generator().manual_seed(0)
    judged = torch.tensor([[[1, 0, 1, 1, 0]], [[0, 0, 1, 0, 0]]], dtype=torch.uint8)
    batch = {"inputs": torch.zeros(2, 5, 1), "edges": torch.zeros(2, 2, 0), "judged": judged, "sample_id": torch.tensor([4, 7])}
    return {**batch, "targets": torch.randint(3, (2, 5), generator=generator)}, torch.randn(2, 5, 3, generator=generator)


def test_judged_nodes_alone_make_the_loss_and_its_gradient(nodes):
    batch, logits = nodes
    model, task = Table(logits), NodeClassification(CrossEntropy(), card())
    judged = batch["judged"][:, 0].bool()
    loss = task.losses({"model": model}, batch, None)["loss"]
    torch.testing.assert_close(loss, F.cross_entropy(logits[judged], batch["targets"][judged], reduction="sum"))
    assert task.counts(batch, None)["loss"] == 4
    loss.backward()
    assert model.logits.grad[~judged].abs().max() == 0 and model.logits.grad[judged].abs().min() > 0


def test_scores_are_of_judged_nodes_on_any_number_of_ranks(nodes):
    batch, logits = nodes
    task = NodeClassification(CrossEntropy(), card())
    outputs = task.predict({"model": Table(logits)}, batch)
    judged = batch["judged"][:, 0].bool()
    one, *ranks = task.metrics(), task.metrics(), task.metrics()
    one.update(outputs, batch)
    for row, metric in enumerate(ranks):
        metric.update({k: v[row : row + 1] for k, v in outputs.items()}, {k: v[row : row + 1] for k, v in batch.items()})
    scores = one.compute([one.state()])
    assert scores == ranks[0].compute([m.state() for m in ranks])
    assert one.state()["sample_id"].tolist() == [4, 7] and scores["samples"] == 4
    assert scores["accuracy"] == (logits.argmax(2) == batch["targets"])[judged].float().mean().item()
    torch.testing.assert_close(outputs["losses"][1], outputs["node_losses"][1, 2])


def test_the_principal_plane_keeps_what_lies_in_a_plane():
    flat = torch.randn(50, 2, generator=torch.Generator().manual_seed(1)) @ torch.randn(2, 7, generator=torch.Generator().manual_seed(2))
    places = principal_plane(flat)
    torch.testing.assert_close(torch.cdist(places, places), torch.cdist(flat, flat), rtol=1e-2, atol=1e-2)
    assert places.var(0)[0] >= places.var(0)[1] and torch.equal(places, principal_plane(flat))


def clouds():
    generator = torch.Generator().manual_seed(3)
    inputs = in_unit_sphere(torch.randn(6, 20, 3, generator=generator))
    return {"inputs": inputs, "targets": torch.arange(6) % 3, "sample_id": torch.arange(6)}


def test_slices_are_thinned_and_turned_clouds():
    torch.manual_seed(0)
    batch, model = clouds(), PointNet(3, width=4).eval()
    task = PointClassification(CrossEntropy(), card(), points=[20, 5], degrees=[0, 45])
    with torch.no_grad():
        outputs = task.predict({"model": model}, batch)
        thinned = model(in_unit_sphere(batch["inputs"][:, :5])).logits.argmax(1)
    metric = task.metrics()
    metric.update(outputs, batch)
    scores = metric.compute([metric.state()])
    assert scores["accuracy_points_20"] == scores["accuracy_degrees_0"] == scores["accuracy"]
    assert scores["accuracy_points_5"] == (thinned == batch["targets"]).double().mean().item()
    assert [row["value"] for row in scores["slices"]["degrees"]] == [0, 45]
    assert task.samples(batch, outputs)["critical"].shape == (6, 20)


def test_the_transform_s_term_is_weighted_and_needs_a_transform():
    torch.manual_seed(0)
    model = PointNet(3, width=4, dropout=0.0)
    with torch.no_grad():
        model.feature_transform.head[-1].bias.mul_(2)  # 2 I: 9 for each of the 4 places of the diagonal
    task = PointClassification(CrossEntropy(), card(), transform_weight=0.5)
    assert task.losses({"model": model.eval()}, clouds(), None)["transform"].item() == pytest.approx(0.5 * 6 * 4 * 9)
    with pytest.raises(UserError, match="no feature transform"):
        task.losses({"model": PointNet(3, width=4, vanilla=True).eval()}, clouds(), None)
    with pytest.raises(UserError, match="more points"):
        PointClassification(CrossEntropy(), card(), points=[21])


def test_critical_points_are_the_owners():
    assert critical(torch.tensor([[2, 2, -1], [-1, -1, -1]]), 4).tolist() == [[False, False, True, False], [False] * 4]
