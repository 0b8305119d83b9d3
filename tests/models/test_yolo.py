"""The detector's shapes, its size by hand, and what it says before it has learnt."""

from __future__ import annotations

import pytest
import torch

from components.models.detection.yolo import PRIOR, Yolo


def test_parameters_by_hand():
    """Convolutions without bias and two numbers a channel of normalisation: 3 -> 4 -> 8 with one block, the neck, and 2 x (5 + 3) outputs."""
    stem, second = 3 * 4 * 9 + 8, 4 * 8 * 9 + 16
    block, neck, head = 8 * 4 + 8 + 4 * 8 * 9 + 16, 8 * 8 * 9 + 16, 8 * 16 + 16
    assert sum(p.numel() for p in Yolo(3, 2, [4, 8], [0, 1]).parameters()) == stem + second + block + neck + head


@pytest.mark.parametrize(("height", "width"), [(48, 64), (33, 47), (17, 1)])
def test_a_cell_that_is_filled_in_part_counts(height, width):
    outputs = Yolo(3, 5, [4, 4, 4, 4], [0, 0, 0, 0])(torch.rand(2, 3, height, width))
    assert outputs.shape == (2, 40, -(-height // 16), -(-width // 16))


def test_at_the_start_hardly_anything_is_an_object():
    torch.manual_seed(0)
    outputs = Yolo(3, 5, [8, 16], [0, 1])(torch.randn(2, 3, 32, 32)).reshape(2, 5, 8, -1)
    assert outputs[:, :, 4].sigmoid().mean().item() == pytest.approx(PRIOR, rel=0.3)
    assert outputs[:, :, :4].abs().max() < 1


def test_its_layers_hold_every_parameter_once():
    model = Yolo(3, 5, [4, 8], [1, 0])
    inside = [p for layer in model.layers() for p in layer.parameters()]
    assert len(inside) == len(list(model.parameters())) == len({id(p) for p in inside})
    with pytest.raises(ValueError, match="as many"):
        Yolo(3, 5, [4, 8], [1])
