"""The loss of heatmap regression."""

from __future__ import annotations

from torch import Tensor, nn


class HeatmapError(nn.Module):
    """Squared error of heatmaps: the sum over the cells, one value a joint.

    The mean squared error of the thesis (notes 000 L13, L1) sums a vector's components and divides by the number of samples alone; here the samples
    are joints, and the task divides by their number. torch.nn.MSELoss divides by the number of cells too.
    """

    def forward(self, heatmaps: Tensor, targets: Tensor) -> Tensor:
        """(..., K, H', W') twice -> (..., K). Half precision is computed in float32."""
        exact = heatmaps if heatmaps.dtype == targets.dtype else heatmaps.float()
        return (exact - targets).square().sum(dim=(-2, -1))
