"""PointNet: the published numbers of parameters, no order of points, T-Nets that start as the identity."""

from __future__ import annotations

import pytest
import torch

from components.models.points.pointnet import PointNet, Transform


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_parameters_are_the_notes_figures():
    """003 16C: 3,480,049 = 803,081 + 1,857,344 + 151,680 + 667,944; vanilla 819,624. Weights, biases and those of batch normalisation, K = 40."""
    model = PointNet(40)
    assert count(model) == 3_480_049 and count(PointNet(40, vanilla=True)) == 819_624
    assert [count(model.input_transform), count(model.feature_transform), count(model.head)] == [803_081, 1_857_344, 667_944]
    assert count(model.first) + count(model.second) == 151_680


@pytest.mark.parametrize("points", [256, 61])
@pytest.mark.parametrize("vanilla", [False, True])
def test_the_order_of_the_points_changes_no_bit(points, vanilla):
    torch.manual_seed(0)
    model = moved(PointNet(10, width=16, vanilla=vanilla)).eval()
    cloud, order = torch.randn(3, points, 3), torch.randperm(points)
    one, other = model(cloud), model(cloud[:, order])
    assert torch.equal(one.logits, other.logits)
    assert torch.equal(one.owners >= 0, other.owners >= 0)


def moved(model):
    """Let the transforms be no identities."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return model


def test_a_transform_starts_as_the_identity():
    cloud = torch.randn(2, 9, 3)
    assert torch.equal(Transform(3, 8)(cloud), torch.eye(3).expand(2, 3, 3))
    torch.manual_seed(0)
    full = PointNet(4, width=8).eval()
    vanilla = PointNet(4, width=8, vanilla=True).eval()
    vanilla.load_state_dict({name: value for name, value in full.state_dict().items() if "transform" not in name})
    torch.testing.assert_close(full(cloud).logits, vanilla(cloud).logits)
    assert torch.equal(full(cloud).transform, torch.eye(8).expand(2, 8, 8)) and vanilla(cloud).transform is None


def test_owners_alone_give_the_same_answer():
    """Theorem 2 of the paper: what is not critical may go. Of a vanilla net, whose transforms do not look at the others."""
    torch.manual_seed(3)
    model = PointNet(4, width=4, vanilla=True).eval()
    cloud = torch.randn(1, 300, 3)
    output = model(cloud)
    kept = output.owners[output.owners >= 0].unique()
    assert len(kept) <= 64
    torch.testing.assert_close(model(cloud[:, kept]).logits, output.logits)
