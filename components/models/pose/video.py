"""Pose in video: a CNN on each frame, a unit that looks across frames, a decoder to heatmaps (the thesis, notes 000 and 001: M01, M05, M06, M07).

The thesis gives the parts (ConvLSTM, GRU, Transformer, MSE, Adam, dropout, early stopping) and neither sizes nor how they are joined; both are
chosen here, small enough for a CPU.

Dimensions: B batch, T frames, C image channels, H, W pixels, K joints, D channels of the features, h, w = H / 4, W / 4 rounded up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.layers.convlstm import ConvGRU, ConvLSTM
from components.layers.dropout import Dropout
from components.models.pose.heads import start_small

Unit = Literal["convlstm", "gru", "transformer", "none"]
_PATCH = 2


class VideoPose(nn.Module):
    """Heatmaps of each frame, at half the resolution. All four units take the place between the same encoder and the same decoder.

    Encoder: convolutions 3 x 3 with batch normalisation and ReLU to w (stride 2), 2w, then D = 3w (stride 2), D channels. What the unit gives is
    added to its input, as in a residual block. Decoder: nearest-neighbour upsampling by two, the encoder's 2w maps beside it, a convolution to
    2w channels, one to K.

    Args:
        temporal: `convlstm` and `gru` see the frames up to each one, `transformer` all frames, `none` each frame by itself: the twin for
            comparison, two convolutions with as many weights (72 D^2) as the ConvLSTM.
        num_joints: K.
        in_channels: C.
        width: w.
        dropout: probability of dropping an element of the features that enter the unit.

    Raises:
        ValueError: there is no such unit.
    """

    def __init__(self, temporal: Unit, num_joints: int = 14, in_channels: int = 3, width: int = 16, dropout: float = 0.1) -> None:
        super().__init__()
        features = 3 * width
        self.fine = nn.Sequential(_convolution(in_channels, width, 2), _convolution(width, 2 * width))
        self.coarse = nn.Sequential(_convolution(2 * width, features, 2), _convolution(features, features))
        self.dropout = Dropout(dropout)
        self.temporal = _unit(temporal, features)
        self.decoder = nn.Sequential(_convolution(features + 2 * width, 2 * width), nn.Conv2d(2 * width, num_joints, 3, padding=1))
        start_small(self.decoder[-1])

    def layers(self) -> list[nn.Module]:
        """From the frames to the heatmaps; every parameter lies in exactly one."""
        return [self.fine, self.coarse, self.temporal, self.decoder]

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, T, C, H, W) -> heatmaps (B, T, K, H / 2, W / 2), rounded up."""
        shape = inputs.shape[:2]
        fine = self.fine(inputs.flatten(0, 1))
        features = self.dropout(self.coarse(fine).unflatten(0, shape))
        features = (features + self.temporal(features)).flatten(0, 1)
        upsampled = F.interpolate(features, size=fine.shape[-2:], mode="nearest")
        heatmaps: Tensor = self.decoder(torch.cat([upsampled, fine], dim=1))
        return heatmaps.reshape(*shape, *heatmaps.shape[1:])


def _convolution(channels: int, out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU())


def _unit(name: str, features: int) -> nn.Module:
    if name == "convlstm":
        return ConvLSTM(features, features)
    if name == "gru":
        return ConvGRU(features, features)
    if name == "transformer":
        return SpaceTime(features)
    if name == "none":
        return PerFrame(features)
    raise ValueError(f"temporal must be convlstm, gru, transformer or none, received {name!r}")


class PerFrame(nn.Module):
    """Two 3 x 3 convolutions on each frame alone, D -> 4D -> D."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(features, 4 * features, 3, padding=1), nn.ReLU(), nn.Conv2d(4 * features, features, 3, padding=1))

    def forward(self, features: Tensor) -> Tensor:
        """(B, T, D, h, w) -> the same shape."""
        refined: Tensor = self.block(features.flatten(0, 1))
        return refined.reshape(features.shape)


class SpaceTime(nn.Module):
    """A Transformer's encoder over the patches of all frames: every token `(t, i, j)`, 2 x 2 places of the features, attends to every other.

    Layers are those of the thesis (notes 000 L191, M07): self-attention and a feed-forward net, each followed by the residual sum and then by
    layer normalisation. A third of the channels carries the sinusoidal position of each axis (T29), so that no clip's length or size is built in.

    Args:
        features: D, a multiple of 6. Tokens have 2 D channels, as do the feed-forward nets twice: about as many weights as the ConvLSTM.
        heads: of the attention.
        depth: number of layers.
    """

    def __init__(self, features: int, heads: int = 4, depth: int = 2) -> None:
        super().__init__()
        tokens = 2 * features
        if features % 3 or tokens % heads:
            raise ValueError(f"features must be a multiple of 3 and twice as many a multiple of {heads} heads, received {features}")
        self.embed = nn.Conv2d(features, tokens, _PATCH, stride=_PATCH)
        layers = [nn.TransformerEncoderLayer(tokens, heads, 2 * tokens, dropout=0.0, batch_first=True) for _ in range(depth)]
        self.encoder = nn.Sequential(*layers)  # nn.TransformerEncoder copies one layer, so that all start alike
        self.spread = nn.ConvTranspose2d(tokens, features, _PATCH, stride=_PATCH)

    def forward(self, features: Tensor) -> Tensor:
        """(B, T, D, h, w) -> the same shape; a last row or column without a partner gets zeros for one."""
        height, width = features.shape[-2:]
        whole = F.pad(features.flatten(0, 1), (0, width % _PATCH, 0, height % _PATCH))
        patches = self._in_frames(self.embed(whole), features).movedim(2, -1)
        place = positions(patches.shape[1:4], patches.shape[-1]).to(patches)
        attended = self.encoder((patches + place).flatten(1, 3)).reshape_as(patches)
        spread = self.spread(attended.movedim(-1, 2).flatten(0, 1))
        return self._in_frames(spread[..., :height, :width], features)

    @staticmethod
    def _in_frames(maps: Tensor, clips: Tensor) -> Tensor:
        """(B T, ...) -> (B, T, ...), as the clips."""
        return maps.reshape(*clips.shape[:2], *maps.shape[1:])


def positions(sizes: Sequence[int], channels: int) -> Tensor:
    """Return sinusoidal positions (Vaswani et al. 2017, section 3.5) of three axes, a third of the channels each, `(T, h, w, D)`.

    With d = D / 3 channels: `sin(p / 10000^(2 i / d))` in channel 2 i of its third, the cosine in channel 2 i + 1.
    """
    part = channels // 3
    rates = torch.exp(torch.arange(0, part, 2) * (-math.log(10000.0) / part))
    codes = []
    for axis, size in enumerate(sizes):
        angles = torch.arange(size)[:, None] * rates
        code = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
        shape = [1, 1, 1, part]
        shape[axis] = size
        codes.append(code.reshape(shape).expand(*sizes, part))
    return torch.cat(codes, dim=-1)
