"""The residual networks against the paper's table 6 and counts by hand, and the identity that a branch of zeros must be."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from components.models.cnn.resnet import Block, CifarResNet


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameters_of_resnet_20_by_hand():
    model = CifarResNet(20)
    stem = 3 * 16 * 9 + 2 * 16
    stage_1 = 3 * 2 * (16 * 16 * 9 + 2 * 16)
    stage_2 = 16 * 32 * 9 + 5 * 32 * 32 * 9 + 6 * 2 * 32
    stage_3 = 32 * 64 * 9 + 5 * 64 * 64 * 9 + 6 * 2 * 64
    classifier = 64 * 10 + 10
    assert [count(layer) for layer in model.layers()[:1] + model.layers()[-1:]] == [stem, classifier]
    assert [count(model.blocks[i : i + 3]) for i in (0, 3, 6)] == [stage_1, stage_2, stage_3]
    assert count(model) == stem + stage_1 + stage_2 + stage_3 + classifier == 269_722


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)])
def test_depth_and_the_paper_s_parameter_counts(depth, millions):
    """He et al., table 6."""
    with torch.device("meta"):
        model, plain = CifarResNet(depth), CifarResNet(depth, residual=False)
    assert sum(isinstance(m, (nn.Conv2d, nn.Linear)) for m in model.modules()) == depth
    assert round(count(model) / 1e6, 2 if depth < 110 else 1) == millions
    assert count(plain) == count(model)  # shortcuts of option A have no parameters


def test_shapes_on_the_way():
    model, seen = CifarResNet(20, num_classes=7, in_channels=1), []
    for block in model.blocks:
        block.register_forward_hook(lambda _module, _inputs, output: seen.append(tuple(output.shape[1:])))
    assert model(torch.zeros(2, 1, 32, 32)).shape == (2, 7)
    assert seen == [(16, 32, 32)] * 3 + [(32, 16, 16)] * 3 + [(64, 8, 8)] * 3


def without_branch(block: Block) -> Block:
    nn.init.zeros_(block.branch[-1].weight)
    return block


@pytest.mark.parametrize("training", [True, False])
def test_a_branch_of_zeros_is_the_identity(training):
    """Erratum 004 E19 and test T32 of 002: the residual 0 leaves f(x) = x; the block ends in a ReLU, so x must not be negative."""
    inputs = torch.rand(2, 4, 6, 6)
    assert torch.equal(without_branch(Block(4, 4)).train(training)(inputs), inputs)
    assert torch.equal(without_branch(Block(4, 4, residual=False)).train(training)(inputs), torch.zeros_like(inputs))


def test_a_widening_shortcut_takes_every_second_pixel_and_adds_empty_channels():
    inputs = torch.rand(2, 4, 5, 6)
    out = without_branch(Block(4, 8))(inputs)
    assert out.shape == (2, 8, 3, 3)
    assert torch.equal(out[:, 2:6], inputs[:, :, ::2, ::2])
    assert not out[:, :2].any() and not out[:, 6:].any()


def test_a_block_is_the_formula_of_the_paper():
    """relu(norm(W2 relu(norm(W1 x))) + x), with torch's functions."""
    block, inputs = Block(3, 3).double(), torch.randn(4, 3, 5, 5, dtype=torch.float64)
    first, _, _, second, _ = block.branch

    def normalised(x: torch.Tensor) -> torch.Tensor:
        return F.batch_norm(x, None, None, training=True)

    hidden = F.relu(normalised(F.conv2d(inputs, first.weight, padding=1)))
    expected = F.relu(normalised(F.conv2d(hidden, second.weight, padding=1)) + inputs)
    torch.testing.assert_close(block(inputs), expected)


def test_weights_start_with_the_variance_of_he():
    torch.manual_seed(0)
    convolutions = [m for m in CifarResNet(20).modules() if isinstance(m, nn.Conv2d)]
    for convolution in convolutions[-5:]:
        assert convolution.weight.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.03)  # 64 * 64 * 9 draws: 0.4 % of error
    assert all(convolution.bias is None for convolution in convolutions)
    widening = convolutions[13]  # 32 channels in, 64 out: the backward case counts those that go out
    assert widening.weight.shape[:2] == (64, 32) and widening.weight.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.03)


def test_every_parameter_gets_a_gradient_and_lies_in_one_layer():
    torch.manual_seed(0)
    model = CifarResNet(8)
    model(torch.randn(4, 3, 16, 16)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    in_layers = [p for layer in model.layers() for p in layer.parameters()]
    assert [id(p) for p in in_layers] == [id(p) for p in model.parameters()]


@pytest.mark.parametrize("depth", [2, 18, 21, 0, -4])
def test_a_depth_without_whole_blocks_is_refused(depth):
    with pytest.raises(ValueError, match="6 n"):
        CifarResNet(depth)
