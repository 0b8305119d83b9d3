"""A detector in the manner of YOLO (Redmon and Farhadi 2017 and 2018; notes 003 D8, 004 M42): one pass over the image, one grid of outputs.

Dimensions: B batch, C input channels, A anchors, K classes, G x F cells.

The backbone is a small Darknet-53: 3 x 3 convolutions of stride 2, and between them residual blocks of a 1 x 1 convolution to half the channels
and a 3 x 3 one back. Widths and depths are configured; the notes give none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

SLOPE = 0.1  # of the leaky ReLU, as in Darknet
PRIOR = 0.01  # what a place starts with as its probability of an object (Lin et al. 2017, "Focal loss", section 4.1): nearly all have none


class Yolo(nn.Module):
    """A backbone of `len(widths)` halvings and a head of one 3 x 3 and one 1 x 1 convolution.

    Args:
        num_classes: K.
        anchors: A.
        widths: channels after each halving.
        blocks: residual blocks after each halving, as many.
        in_channels: C.

    Raises:
        ValueError: widths and blocks differ in length.
    """

    def __init__(self, num_classes: int, anchors: int, widths: Sequence[int], blocks: Sequence[int], in_channels: int = 3) -> None:
        super().__init__()
        if len(widths) != len(blocks) or not widths:
            raise ValueError(f"widths and blocks must be as many, at least one, received {list(widths)} and {list(blocks)}")
        layers: list[nn.Module] = []
        for before, width, depth in zip([in_channels, *widths[:-1]], widths, blocks, strict=True):
            layers += [_convolution(before, width, kernel_size=3, stride=2), *[Block(width) for _ in range(depth)]]
        self.backbone = nn.Sequential(*layers)
        self.neck = _convolution(widths[-1], widths[-1], kernel_size=3)
        self.head = nn.Conv2d(widths[-1], anchors * (5 + num_classes), kernel_size=1)
        with torch.no_grad():
            self.head.weight.mul_(0.1)  # at the start every place says its anchor, in the middle of its cell
            bias = torch.zeros(anchors, 5 + num_classes)
            bias[:, 4] = math.log(PRIOR / (1 - PRIOR))
            self.head.bias = nn.Parameter(bias.flatten())

    def layers(self) -> list[nn.Module]:
        """From the inputs to the outputs; every parameter lies in exactly one."""
        return [*self.backbone, self.neck, self.head]

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, A (5 + K), ceil(H / s), ceil(W / s)) with s = 2 ** len(widths)."""
        outputs: Tensor = self.head(self.neck(self.backbone(inputs)))
        return outputs


class Block(nn.Module):
    """`x + f(x)`, f a 1 x 1 convolution to half the channels and a 3 x 3 one back; (B, C, H, W) -> the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(_convolution(channels, channels // 2, kernel_size=1), _convolution(channels // 2, channels, kernel_size=3))

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        outputs: Tensor = inputs + self.branch(inputs)
        return outputs


def _convolution(before: int, after: int, kernel_size: int, stride: int = 1) -> nn.Sequential:
    """Convolution, normalisation, leaky ReLU; no bias, for the normalisation has one."""
    return nn.Sequential(
        nn.Conv2d(before, after, kernel_size, stride, padding=kernel_size // 2, bias=False), nn.BatchNorm2d(after), nn.LeakyReLU(SLOPE)
    )
