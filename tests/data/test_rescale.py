"""Bytes to the range of a sigmoid or of a tanh."""

from __future__ import annotations

import pytest
import torch

from components.data.draws import Draws
from components.data.rescale import Rescale


@pytest.mark.parametrize(("low", "high", "middle"), [(0.0, 1.0, 0.2), (-1.0, 1.0, -0.6)])
def test_black_white_and_a_fifth(low, high, middle):
    batch = {"inputs": torch.tensor([[0, 51, 255]], dtype=torch.uint8), "targets": torch.tensor([3])}
    found = Rescale(low, high)(batch, Draws(0, 0, torch.arange(1)))
    torch.testing.assert_close(found["inputs"], torch.tensor([[low, middle, high]]))
    assert found["targets"] is batch["targets"] and batch["inputs"].dtype == torch.uint8
