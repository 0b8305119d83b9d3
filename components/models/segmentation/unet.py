"""U-Net (Ronneberger, Fischer and Brox 2015, "U-Net: convolutional networks for biomedical image segmentation", figure 1).

Notes 003 S5 (lines 1601-1618), 002 M29 (L3364-3366). Notes 003 line 1618 is wrong: its decoder has no unpooling and adds no skips. The
paper's has a 2 x 2 up-convolution, and the encoder's maps are cropped and *concatenated*.

Dimensions: B batch, C input channels, H, W pixels, K classes, D channels of a level.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Padding = Literal["valid", "same"]
Normalisation = Literal["none", "batch"]


class UNet(nn.Module):
    """An encoder that halves the image `depth` times and a decoder that doubles it again, each level with the encoder's map beside it.

    Level i has `width * 2^i` channels and two 3 x 3 convolutions with ReLU. The paper's net (C = 1, K = 2, valid, no normalisation) takes
    572 x 572 pixels to 388 x 388 and has 31,030,658 parameters. Weights start normal with variance `2 / fan in`, as in the paper (section 3).
    Its dropout at the end of the encoder is left out.

    Args:
        in_channels: C.
        num_classes: K.
        width: channels of the first level.
        depth: how often the image is halved.
        padding: `valid` convolutions lose two pixels a level and side, and the logits are smaller than the image; the image is best of
            a size that every pooling finds even. `same` pads with zeros, and the logits have the image's size, whatever it is.
        normalisation: `batch` normalises after each convolution (Ioffe and Szegedy 2015; not in the paper, it trains sooner).

    Raises:
        ValueError: an option has no such choice.
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 2,
        width: int = 64,
        depth: int = 4,
        padding: Padding = "same",
        normalisation: Normalisation = "none",
    ) -> None:
        super().__init__()
        if padding not in ("valid", "same") or normalisation not in ("none", "batch"):
            raise ValueError(f"padding is valid or same, normalisation none or batch; received {padding!r}, {normalisation!r}")
        widths = [width * 2**level for level in range(depth + 1)]
        pairs = list(zip([in_channels, *widths], widths, strict=False))
        self.encoder = nn.ModuleList([_two_convolutions(*pair, padding, normalisation) for pair in pairs])
        self.decoder = nn.ModuleList([Up(channels, padding, normalisation) for channels in reversed(widths[:-1])])
        self.classifier = nn.Conv2d(width, num_classes, kernel_size=1)
        self.apply(_initialise)

    def layers(self) -> list[nn.Module]:
        """From the inputs to the logits; every parameter lies in exactly one."""
        return [*self.encoder, *self.decoder, self.classifier]

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, C, H, W) -> logits (B, K, H, W), or those of the middle where the padding is `valid`."""
        maps: list[Tensor] = []
        hidden = inputs
        for level in self.encoder:
            hidden = level(F.max_pool2d(hidden, 2) if maps else hidden)
            maps.append(hidden)
        for level, skip in zip(self.decoder, reversed(maps[:-1]), strict=True):
            hidden = level(hidden, skip)
        logits: Tensor = self.classifier(hidden)
        return logits


class Up(nn.Module):
    """Double the map with a 2 x 2 up-convolution that halves the channels, put the encoder's map beside it, and convolve twice.

    Args:
        channels: D, of the result and of the encoder's map.
        padding, normalisation: see `UNet`.
    """

    def __init__(self, channels: int, padding: Padding, normalisation: Normalisation) -> None:
        super().__init__()
        self.keeps_size = padding == "same"
        self.up = nn.ConvTranspose2d(2 * channels, channels, kernel_size=2, stride=2)
        self.convolutions = _two_convolutions(2 * channels, channels, padding, normalisation)

    def forward(self, inputs: Tensor, skip: Tensor) -> Tensor:
        """(B, 2 D, h, w), (B, D, H, W) -> (B, D, 2 h, 2 w), less what valid convolutions lose; (B, D, H, W) where H or W is one more."""
        hidden = self.up(inputs)
        if self.keeps_size:  # a pooling drops the last row or column of an odd size: here it comes back as zeros
            hidden = F.pad(hidden, (0, skip.shape[-1] - hidden.shape[-1], 0, skip.shape[-2] - hidden.shape[-2]))
        found: Tensor = self.convolutions(torch.cat([crop(skip, hidden.shape[-2], hidden.shape[-1]), hidden], dim=1))
        return found


def crop(maps: Tensor, height: int, width: int) -> Tensor:
    """Cut out the middle, `(..., H, W) -> (..., height, width)`; of an odd rest the larger part goes at the bottom and right."""
    top, left = (maps.shape[-2] - height) // 2, (maps.shape[-1] - width) // 2
    return maps[..., top : top + height, left : left + width]


def _two_convolutions(in_channels: int, channels: int, padding: Padding, normalisation: Normalisation) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before in (in_channels, channels):
        # The normalisation's own bias takes the place of the convolution's.
        layers.append(nn.Conv2d(before, channels, kernel_size=3, padding=int(padding == "same"), bias=normalisation == "none"))
        layers += [nn.BatchNorm2d(channels)] if normalisation == "batch" else []
        layers.append(nn.ReLU())
    return nn.Sequential(*layers)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
