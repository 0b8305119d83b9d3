"""DCGAN (Radford, Metz, Chintala 2016, "Unsupervised representation learning with deep convolutional generative adversarial networks", section 3
and fig. 1; notes 002 M64, 003 G4).

Dimensions: B batch, Q latent, C channels, S side of the image, W width.

The five rules: strided and fractionally strided convolutions instead of pooling; batch normalisation in both networks, but not at the generator's
output nor the discriminator's input; no fully connected hidden layers; ReLU and a final tanh in the generator; LeakyReLU 0.2 in all of the
discriminator. Weights start as N(0, 0.02^2).

Widths are those of the authors' code (W = 64: 512-256-128-64 maps), which has 3,576,704 parameters in the generator at 3 x 64 x 64, the count of
notes 003; the figure of the paper and of 003 G4 (1024-512-256-128) is W = 128 with 12,658,432. The notes' "linear interpolation" (upsampling, then a
convolution) is no part of the paper: a fractionally strided convolution does both.
"""

from __future__ import annotations

import itertools

from torch import Tensor, nn

from components.errors import UserError

_KERNEL = 4  # twice the stride of 2, so that every pixel gets as many taps and no checkerboard is built in
_SPREAD = 0.02
_SLOPE = 0.2


class DCGAN(nn.Module):
    """A generator and a discriminator; the task trains each in a phase of its own.

    Args:
        size: S; halved while even and the half is at least 4, so 64 gives 4-8-16-32-64 and 28 gives 7-14-28.
        channels: C.
        latent: Q.
        width: W, maps of the layer nearest to the image; doubled at each halving.

    Raises:
        UserError: the side cannot be halved once.
    """

    def __init__(self, size: int = 64, channels: int = 3, latent: int = 100, width: int = 64) -> None:
        super().__init__()
        base, halvings = _halved(size)
        self.generator = Generator(base, halvings, channels, latent, width)
        self.discriminator = Discriminator(base, halvings, channels, width)
        self.apply(_initialise)


class Generator(nn.Module):
    """Noise to images: a dense layer to `base x base` maps, written as a transposed convolution, then doublings of the side.

    Args:
        base: side of the first maps, in pixels.
        halvings: how often the side doubles; S = base * 2^halvings.
        channels: C.
        latent: Q.
        width: W.
    """

    def __init__(self, base: int, halvings: int, channels: int, latent: int, width: int) -> None:
        super().__init__()
        widths = [width * 2**i for i in reversed(range(halvings))]
        blocks = [_up(latent, widths[0], base, stride=1, padding=0)]
        blocks += [_up(before, after) for before, after in itertools.pairwise(widths)]
        image = nn.ConvTranspose2d(widths[-1], channels, _KERNEL, stride=2, padding=1, bias=False)
        self.blocks = nn.Sequential(*blocks, image, nn.Tanh())

    def forward(self, noise: Tensor) -> Tensor:
        """(B, Q) -> images (B, C, S, S) in [-1, 1]."""
        images: Tensor = self.blocks(noise[:, :, None, None])
        return images


class Discriminator(nn.Module):
    """Images to one logit: halvings of the side, then all `base x base` places weighed at once. Arguments as the generator's."""

    def __init__(self, base: int, halvings: int, channels: int, width: int) -> None:
        super().__init__()
        self.size = base * 2**halvings
        widths = [width * 2**i for i in range(halvings)]
        first = nn.Sequential(nn.Conv2d(channels, width, _KERNEL, stride=2, padding=1, bias=False), nn.LeakyReLU(_SLOPE))
        blocks = [_down(before, after) for before, after in itertools.pairwise(widths)]
        self.blocks = nn.Sequential(first, *blocks, nn.Conv2d(widths[-1], 1, base, bias=False))

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, S, S) -> logits (B,): positive for real.

        Raises:
            UserError: the images have another size; larger ones would have given several logits each.
        """
        if images.shape[-2:] != (self.size, self.size):
            raise UserError(
                "the images have another size than the model was made for",
                received=f"{images.shape[-2]} x {images.shape[-1]}",
                expected=f"{self.size} x {self.size}, model.size",
                mend="set model.size, or resize in augment.always",
            )
        logits: Tensor = self.blocks(images)
        return logits.flatten()


def _halved(size: int) -> tuple[int, int]:
    """Return the side of the smallest maps and how many halvings lead there."""
    base, halvings = size, 0
    while base % 2 == 0 and base >= 8:
        base, halvings = base // 2, halvings + 1
    if halvings == 0:
        raise UserError("the images' side cannot be halved", received=f"size={size}", expected="an even number, at least 8")
    return base, halvings


def _up(before: int, after: int, kernel: int = _KERNEL, stride: int = 2, padding: int = 1) -> nn.Sequential:
    # no bias: the normalisation that follows would take it away
    convolution = nn.ConvTranspose2d(before, after, kernel, stride, padding, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU())


def _down(before: int, after: int) -> nn.Sequential:
    convolution = nn.Conv2d(before, after, _KERNEL, stride=2, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.LeakyReLU(_SLOPE))


def _initialise(module: nn.Module) -> None:
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, _SPREAD)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, _SPREAD)
