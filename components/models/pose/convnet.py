"""The multi-resolution heatmap network (Tompson, Goroshin, Jain, LeCun, Bregler 2015, "Efficient object localization using convolutional
networks", section 3.1; notes 003 section 14.2.2, L2906-2928).

Dimensions: B batch, C image channels, H, W pixels, K joints, w width.

The notes lost the figure. Kept of the paper: a pyramid of three scales with a bank of convolutions each, whose maps are brought to one size and
added, 1 x 1 convolutions to a heatmap a joint, SpatialDropout (section 3.2), the squared error to Gaussians. Other than there: narrower banks with
batch normalisation instead of local contrast normalisation, averaged pixels instead of a Laplacian pyramid, and no second network that refines
(dx, dy) in a crop of the features: heatmaps are decoded between the cells instead (components/decoding/heatmap.py).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from components.layers.dropout import Dropout
from components.models.pose.heads import start_small

_SCALES = (1, 2, 4)


class PoseConvNet(nn.Module):
    """Heatmaps at a quarter of the image's resolution.

    A bank halves its image twice: a convolution 5 x 5 to w (stride 2), 3 x 3 to w, pooling, 3 x 3 to 2w twice. The smallest image's bank sees
    four times as far as the largest one's.

    Args:
        num_joints: K.
        in_channels: C.
        width: w.
        dropout: probability that SpatialDropout drops a map, before the 1 x 1 convolutions.
    """

    def __init__(self, num_joints: int = 14, in_channels: int = 3, width: int = 32, dropout: float = 0.2) -> None:
        super().__init__()
        self.banks = nn.ModuleList(_bank(in_channels, width) for _ in _SCALES)
        self.joined = nn.Sequential(nn.ReLU(), *_convolution(2 * width, 2 * width, 3))
        self.dropout = Dropout(dropout)
        self.head = nn.Sequential(nn.Conv2d(2 * width, 4 * width, 1), nn.ReLU(), nn.Conv2d(4 * width, num_joints, 1))
        start_small(self.head[-1])

    def layers(self) -> list[nn.Module]:
        """From the image to the heatmaps; every parameter lies in exactly one."""
        return [self.banks, self.joined, self.head]

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, C, H, W) -> heatmaps (B, K, H / 4, W / 4), rounded up."""
        maps: Tensor | None = None
        for scale, bank in zip(_SCALES, self.banks, strict=True):
            image = inputs if scale == 1 else F.avg_pool2d(inputs, scale, ceil_mode=True)
            found = bank(image)
            maps = found if maps is None else maps + F.interpolate(found, size=maps.shape[-2:], mode="bilinear", align_corners=False)
        assert maps is not None
        features = self.joined(maps)
        heatmaps: Tensor = self.head(features * self._kept_maps(features))
        return heatmaps

    def _kept_maps(self, features: Tensor) -> Tensor:
        """SpatialDropout: a map is dropped as a whole, for its neighbouring places tell the same. (B, 2w, h, w) -> (B, 2w, 1, 1)."""
        kept: Tensor = self.dropout(features.new_ones(*features.shape[:2], 1, 1))
        return kept


def _bank(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        *_convolution(channels, width, 5, stride=2),
        *_convolution(width, width, 3),
        nn.MaxPool2d(2, ceil_mode=True),
        *_convolution(width, 2 * width, 3),
        *_convolution(2 * width, 2 * width, 3)[:2],  # the ReLU comes after the scales are added
    )


def _convolution(channels: int, out: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(channels, out, kernel, stride=stride, padding=kernel // 2, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
