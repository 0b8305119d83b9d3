"""The squared error of heatmaps against torch's own, and its gradient."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from components.losses.heatmap import HeatmapError


def test_it_is_torchs_sum_over_the_cells():
    torch.manual_seed(0)
    found, wanted = torch.randn(2, 5, 3, 4, 6), torch.rand(2, 5, 3, 4, 6)
    errors = HeatmapError()(found, wanted)
    assert errors.shape == (2, 5, 3)
    torch.testing.assert_close(errors, 24 * F.mse_loss(found, wanted, reduction="none").mean(dim=(-2, -1)))
    assert HeatmapError()(found.bfloat16(), wanted).dtype == torch.float32


def test_gradient():
    torch.manual_seed(0)
    found, wanted = torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True), torch.rand(1, 2, 3, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(HeatmapError(), (found, wanted))
