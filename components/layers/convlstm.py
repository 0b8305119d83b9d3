"""Convolutional recurrent cells over sequences of feature maps.

Legend: B samples, T frames, C input channels, M hidden channels, H height, W width, k kernel; `*` is a convolution, `o` the product of elements.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ConvLSTM(nn.Module):
    """Convolutional LSTM with peepholes (Shi et al. 2015, equation 3; notes 000 L121-157, M05), from the state zero:

        I = s(Wxi * X + Whi * H' + wci o C' + bi)
        F = s(Wxf * X + Whf * H' + wcf o C' + bf)
        C = F o C' + I o tanh(Wxc * X + Whc * H' + bc)
        O = s(Wxo * X + Who * H' + wco o C + bo)          the new C, the others see the old one
        H = O o tanh(C)

    s is the logistic function (notes 000 erratum E01). A peephole is one weight a channel; the paper has one a channel and place, which
    would tie the layer to one image size. Peepholes start at zero, the forget gate's bias at one (Jozefowicz et al. 2015, section 4), so that
    what was seen is kept until training knows better.

    Args:
        channels: C.
        hidden: M.
        kernel: k, odd: the maps keep their size.
    """

    def __init__(self, channels: int, hidden: int, kernel: int = 3) -> None:
        super().__init__()
        self.hidden = hidden
        self.from_input = nn.Conv2d(channels, 4 * hidden, kernel, padding=kernel // 2)
        self.from_hidden = nn.Conv2d(hidden, 4 * hidden, kernel, padding=kernel // 2, bias=False)
        self.peepholes = nn.Parameter(torch.zeros(3, hidden, 1, 1))
        with torch.no_grad():
            assert self.from_input.bias is not None
            self.from_input.bias[hidden : 2 * hidden] = 1.0

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, T, C, H, W) -> the hidden state after each frame, (B, T, M, H, W)."""
        given = self.from_input(inputs.flatten(0, 1)).unflatten(0, inputs.shape[:2])
        hidden = cell = given.new_zeros(inputs.shape[0], self.hidden, *inputs.shape[-2:])
        states = []
        for frame in given.unbind(1):
            hidden, cell = self._step(frame + self.from_hidden(hidden), cell)
            states.append(hidden)
        return torch.stack(states, dim=1)

    def _step(self, gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 4M, H, W), in the order of torch.nn.LSTMCell (input, forget, cell, output), and C' -> H and C."""
        enter, keep, new, out = gates.chunk(4, dim=1)
        enter = torch.sigmoid(enter + self.peepholes[0] * cell)
        keep = torch.sigmoid(keep + self.peepholes[1] * cell)
        cell = keep * cell + enter * torch.tanh(new)
        return torch.sigmoid(out + self.peepholes[2] * cell) * torch.tanh(cell), cell


class ConvGRU(nn.Module):
    """Convolutional GRU (Ballas et al. 2016, section 3), from the state zero; the cell is that of notes 004 L769-783 (M27):

        z = s(Wz * X + Uz * H' + bz),  r = s(Wr * X + Ur * H' + br),  N = tanh(Wh * X + Uh * (r o H') + bh),  H = (1 - z) o H' + z o N

    The reset gate comes before the convolution. torch.nn.GRU resets after it and exchanges z and 1 - z. Notes 001 have a heading only.

    Args:
        channels: C.
        hidden: M.
        kernel: k, odd: the maps keep their size.
    """

    def __init__(self, channels: int, hidden: int, kernel: int = 3) -> None:
        super().__init__()
        self.hidden = hidden
        self.from_input = nn.Conv2d(channels, 3 * hidden, kernel, padding=kernel // 2)
        self.gates = nn.Conv2d(hidden, 2 * hidden, kernel, padding=kernel // 2, bias=False)
        self.candidate = nn.Conv2d(hidden, hidden, kernel, padding=kernel // 2, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, T, C, H, W) -> the hidden state after each frame, (B, T, M, H, W)."""
        given = self.from_input(inputs.flatten(0, 1)).unflatten(0, inputs.shape[:2])
        hidden = given.new_zeros(inputs.shape[0], self.hidden, *inputs.shape[-2:])
        states = []
        for frame in given.unbind(1):
            gates, new = frame.split((2 * self.hidden, self.hidden), dim=1)
            update, reset = torch.sigmoid(gates + self.gates(hidden)).chunk(2, dim=1)
            hidden = (1 - update) * hidden + update * torch.tanh(new + self.candidate(reset * hidden))
            states.append(hidden)
        return torch.stack(states, dim=1)
