"""Pose networks: shapes at odd sizes, which frames each unit sees, positions, and dropout of whole maps."""

from __future__ import annotations

import pytest
import torch

from components.data.draws import Draws
from components.layers.dropout import hand_draws, stochastic_layers
from components.models.pose.convnet import PoseConvNet
from components.models.pose.video import SpaceTime, VideoPose, positions

UNITS = ("convlstm", "gru", "transformer", "none")


@pytest.mark.parametrize("temporal", UNITS)
@pytest.mark.parametrize("size", [(16, 24), (17, 21)])
def test_video_heatmaps_have_half_the_size_rounded_up(temporal, size):
    model = VideoPose(temporal, num_joints=5, width=4).eval()
    assert model(torch.randn(2, 3, 3, *size)).shape == (2, 3, 5, -(-size[0] // 2), -(-size[1] // 2))
    assert {id(p) for layer in model.layers() for p in layer.parameters()} == {id(p) for p in model.parameters()}


@pytest.mark.parametrize(
    ("temporal", "earlier", "later"), [("convlstm", True, False), ("gru", True, False), ("transformer", True, True), ("none", False, False)]
)
def test_which_frames_a_unit_sees(temporal, earlier, later):
    torch.manual_seed(0)
    model = VideoPose(temporal, num_joints=2, width=4).eval()
    torch.nn.init.normal_(model.decoder[-1].weight)
    clip = torch.randn(1, 5, 3, 16, 16)
    changed = clip.clone()
    changed[:, 2] += 1.0
    with torch.no_grad():
        moved = (model(clip) - model(changed)).abs().amax(dim=(0, 2, 3, 4)) > 1e-6
    assert moved.tolist() == [later, later, True, earlier, earlier]


def test_the_twin_has_as_many_weights_as_the_convlstm():
    sizes = {unit: sum(p.numel() for p in VideoPose(unit).temporal.parameters()) for unit in UNITS}
    assert sizes["convlstm"] == 72 * 48**2 + 4 * 48 + 3 * 48  # weights, biases, peepholes
    assert sizes["none"] == 72 * 48**2 + 5 * 48
    assert sizes["gru"] == 54 * 48**2 + 3 * 48


def test_positions_are_the_notes_fixture():
    # T29: d = 4, position 1: .8414710, .5403023, .0099998, .9999500
    codes = positions((2, 3, 2), 12)
    wanted = torch.tensor([0.8414710, 0.5403023, 0.0099998, 0.9999500])
    torch.testing.assert_close(codes[1, 0, 0, :4], wanted)
    torch.testing.assert_close(codes[0, 1, 1, 4:8], wanted)
    torch.testing.assert_close(codes[0, 2, 1, 8:], wanted)


def test_attention_without_positions_would_not_know_the_order_of_frames():
    torch.manual_seed(0)
    unit, clip = SpaceTime(6).eval(), torch.randn(1, 4, 6, 4, 4)
    with torch.no_grad():
        assert not torch.allclose(unit(clip.flip(1)).flip(1), unit(clip), atol=1e-3)


@pytest.mark.parametrize("size", [(32, 32), (33, 47)])
def test_photo_heatmaps_have_a_quarter_of_the_size_rounded_up(size):
    model = PoseConvNet(num_joints=5, width=4).eval()
    assert model(torch.randn(2, 3, *size)).shape == (2, 5, -(-size[0] // 4), -(-size[1] // 4))
    assert {id(p) for layer in model.layers() for p in layer.parameters()} == {id(p) for p in model.parameters()}


def test_all_three_scales_count():
    torch.manual_seed(0)
    model = PoseConvNet(width=4).eval()
    model(torch.randn(1, 3, 32, 32)).square().sum().backward()
    assert all(any(p.grad.abs().sum() > 0 for p in bank.parameters()) for bank in model.banks)


def test_spatial_dropout_drops_whole_maps():
    model = PoseConvNet(width=8, dropout=0.5).train()
    hand_draws(stochastic_layers(model), Draws(0, 0, torch.arange(3)))
    kept = model._kept_maps(torch.randn(3, 16, 5, 5))
    assert kept.shape == (3, 16, 1, 1) and set(kept.unique().tolist()) == {0.0, 2.0}


def test_an_unknown_unit():
    with pytest.raises(ValueError, match="temporal must be"):
        VideoPose("rnn")
