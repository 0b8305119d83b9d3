"""U-Net: the paper's numbers, and an image of any size."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from components.models.segmentation.unet import UNet, crop


def parameters(net: torch.nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def test_the_paper_s_net_has_31_030_658_parameters_and_takes_572_to_388():
    with torch.device("meta"):
        net = UNet(in_channels=1, num_classes=2, padding="valid")
        assert parameters(net) == 31_030_658  # notes 003 fixture
        assert net(torch.empty(1, 1, 572, 572)).shape == (1, 2, 388, 388)
        assert parameters(UNet(in_channels=1, num_classes=1)) == 31_030_593


def test_maps_have_the_sizes_of_figure_1():
    sizes = []
    with torch.device("meta"):
        net = UNet(in_channels=1, padding="valid")
        for level in [*net.encoder, *(up.up for up in net.decoder), *net.decoder]:
            level.register_forward_hook(lambda m, i, out: sizes.append(out.shape[-1]))
        net(torch.empty(1, 1, 572, 572))
    assert sizes == [568, 280, 136, 64, 28, 56, 52, 104, 100, 200, 196, 392, 388]


@pytest.mark.parametrize("size", [(16, 16), (33, 21), (7, 5), (180, 240)])
def test_same_padding_keeps_any_size(size):
    net = UNet(width=2, depth=2, num_classes=11, normalisation="batch")
    assert net(torch.randn(2, 3, *size)).shape == (2, 11, *size)


def test_same_and_valid_agree_where_no_border_reaches():
    torch.manual_seed(0)
    valid, same = UNet(width=2, depth=1, padding="valid"), UNet(width=2, depth=1, padding="same")
    same.load_state_dict(valid.state_dict())
    images = torch.randn(1, 3, 32, 32)
    inner, whole = valid(images), same(images)
    assert inner.shape == (1, 2, 16, 16)
    torch.testing.assert_close(crop(whole, 12, 12), crop(inner, 12, 12))


def test_the_skip_is_put_beside_not_added():
    net = UNet(width=2, depth=1, num_classes=3)
    images = torch.randn(1, 3, 8, 8)
    first = net.encoder[0](images)
    deep = net.encoder[1](F.max_pool2d(first, 2))
    by_hand = net.classifier(net.decoder[0].convolutions(torch.cat([first, net.decoder[0].up(deep)], dim=1)))
    torch.testing.assert_close(net(images), by_hand)


def test_every_parameter_lies_in_one_layer_and_gets_a_gradient():
    net = UNet(width=2, depth=3, normalisation="batch")
    net(torch.randn(2, 3, 24, 40)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())
    assert [id(p) for layer in net.layers() for p in layer.parameters()] == [id(p) for p in net.parameters()]


def test_activations_keep_their_spread_from_the_start():
    torch.manual_seed(0)
    out = UNet(width=8, depth=3)(torch.randn(2, 3, 64, 64))
    assert 0.05 < out.std() < 20


def test_unknown_choices_are_refused():
    for options in ({"padding": "mirror"}, {"normalisation": "group"}):
        with pytest.raises(ValueError, match="padding is valid or same"):
            UNet(**options)
