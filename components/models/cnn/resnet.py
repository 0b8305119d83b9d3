"""Residual networks for small images (He, Zhang, Ren, Sun 2016, "Deep residual learning for image recognition", section 4.2).

Notes 002 M28, 003 (lines 1223-1239), 004 M23b.

Dimensions: B batch, C input channels, H, W pixels, K classes.

The notes give no depth or width; both are the paper's. Erratum 004 E19: where the identity is wanted, the mapping is `f(x) = x` and the
residual that the branch learns is `f(x) - x = 0`, so a branch of zeros is the identity.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

_WIDTHS = (16, 32, 64)


class CifarResNet(nn.Module):
    """A 3 x 3 convolution, three stages of n blocks with 16, 32 and 64 channels, the mean over pixels, one fully connected layer.

    Depth counts the layers with weights: `6 n + 2`. ResNet-20 has 269,722 parameters with K = 10, ResNet-56 853,018 (the paper's 0.27 M and
    0.85 M); the plain twin has as many, for the shortcuts have none. Convolutions have no bias: the normalisation after each has one.
    Weights start normal with variance `2 / (k^2 channels out)` (He et al. 2015, the backward case, as in the authors' code).

    Args:
        depth: `6 n + 2`, such as 20, 32, 44, 56, 110.
        num_classes: K.
        in_channels: C.
        residual: False gives the plain twin, the same layers without shortcuts.

    Raises:
        ValueError: depth is not `6 n + 2` with n at least 1.
    """

    def __init__(self, depth: int = 20, num_classes: int = 10, in_channels: int = 3, residual: bool = True) -> None:
        super().__init__()
        blocks, rest = divmod(depth - 2, 6)
        if rest or blocks < 1:
            raise ValueError(f"depth must be 6 n + 2 (20, 32, 44, 56, 110 ...), received {depth}")
        self.stem = nn.Sequential(_convolution(in_channels, _WIDTHS[0]), nn.BatchNorm2d(_WIDTHS[0]), nn.ReLU())
        widths = [width for width in _WIDTHS for _ in range(blocks)]
        before = [_WIDTHS[0], *widths[:-1]]
        self.blocks = nn.Sequential(*[Block(*pair, residual) for pair in zip(before, widths, strict=True)])
        self.classifier = nn.Linear(_WIDTHS[-1], num_classes)
        self.apply(_initialise)

    def layers(self) -> list[nn.Module]:
        """From the inputs to the logits; every parameter lies in exactly one."""
        return [self.stem, *self.blocks, self.classifier]

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, C, H, W) -> logits (B, K); the paper's images have 32 x 32 pixels, others work too."""
        logits: Tensor = self.classifier(self.blocks(self.stem(inputs)).mean(dim=(2, 3)))
        return logits


class Block(nn.Module):
    """Two 3 x 3 convolutions and the shortcut: `relu(F(x) + x)`. A block that widens halves the image with stride 2.

    Shortcut of option A: every second pixel, and zeros for the new channels, half before and half after; no parameters.

    Args:
        in_channels: C.
        out_channels: D, equal to C or above it.
        residual: with the shortcut.
    """

    def __init__(self, in_channels: int, out_channels: int, residual: bool = True) -> None:
        super().__init__()
        self.stride = 1 if in_channels == out_channels else 2
        self.new_channels, self.residual = out_channels - in_channels, residual
        self.branch = nn.Sequential(
            _convolution(in_channels, out_channels, self.stride),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
            _convolution(out_channels, out_channels),
            nn.BatchNorm2d(out_channels),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D, H, W), or (B, D, ceil(H / 2), ceil(W / 2)) where D > C."""
        hidden: Tensor = self.branch(inputs)
        return F.relu(hidden + self._shortcut(inputs) if self.residual else hidden)

    def _shortcut(self, inputs: Tensor) -> Tensor:
        if self.stride == 1:
            return inputs
        first = self.new_channels // 2
        return F.pad(inputs[:, :, ::2, ::2], (0, 0, 0, 0, first, self.new_channels - first))


def _convolution(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1, bias=False)


def _initialise(module: nn.Module) -> None:
    """The classifier keeps torch's start: at a rate of 0.1 the head is not what depth makes hard."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
