"""The pose task: the loss counts labelled joints, the truth's own heatmaps score 1, and clips are images with an axis more."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from components.data.draws import Draws
from components.data.skeleton import JOINTS
from components.errors import UserError
from components.losses.heatmap import HeatmapError
from components.tasks.base import StepContext
from components.tasks.pose import Pose

K = len(JOINTS)


class Given(nn.Module):
    """A model that answers with its inputs."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs


def card(*shape: int) -> SimpleNamespace:
    return SimpleNamespace(name="given", columns={"keypoints": SimpleNamespace(shape=shape)})


@pytest.fixture(params=[(), (3,)], ids=["images", "clips"])
def batch(request):
    torch.manual_seed(0)
    keypoints = torch.full((2, *request.param, K, 3), 2.0)
    keypoints[..., :2] = 6 + 50 * torch.rand(2, *request.param, K, 2)
    keypoints[0, ..., :5, 2] = 0
    return {"inputs": torch.zeros(2, *request.param, K, 16, 16), "keypoints": keypoints, "sample_id": torch.arange(2)}


def task() -> Pose:
    return Pose(HeatmapError(), card(K, 3), stride=4)


def context(batch) -> StepContext:
    return StepContext(Pose.phases[0], Draws(0, 0, batch["sample_id"]), 0, 0)


def test_the_loss_of_zeros_is_the_energy_of_a_gaussian(batch):
    pose = task()
    total, count = (f["loss"] for f in (pose.losses({"model": Given()}, batch, context(batch)), pose.counts(batch, context(batch))))
    frames = batch["keypoints"][0].numel() // (3 * K)
    assert int(count) == frames * (2 * K - 5)
    assert float(total / count) == pytest.approx(torch.pi, rel=0.05)  # sum of exp(-d^2 / sigma^2) over the plane, sigma = 1 cell
    assert task().predict({"model": Given()}, batch)["losses"].tolist() == pytest.approx([torch.pi] * 2, rel=0.05)


def test_true_heatmaps_score_one(batch):
    pose = task()
    batch["inputs"] = pose.codec.encode(batch["keypoints"], 16, 16)
    outputs = pose.predict({"model": Given()}, batch)
    assert outputs["poses"].shape == batch["keypoints"].shape and outputs["losses"].tolist() == [0.0, 0.0]
    metric = pose.metrics()
    metric.update(outputs, batch)
    assert metric.compute([metric.state()])["pck"] == 1.0
    assert pose.samples(batch, outputs).keys() == {"sample_id", "losses", "poses"}


def test_joints_that_are_not_labelled_have_no_gradient(batch):
    heatmaps = batch["inputs"].requires_grad_()
    task().losses({"model": Given()}, batch, context(batch))["loss"].backward()
    assert heatmaps.grad[0, ..., :5, :, :].eq(0).all() and heatmaps.grad[1].ne(0).any()


def test_other_data_are_refused():
    with pytest.raises(UserError, match="no poses"):
        Pose(HeatmapError(), card(17, 3), stride=4)
    with pytest.raises(UserError, match="no poses"):
        Pose(HeatmapError(), SimpleNamespace(name="digits", columns={}), stride=4)
