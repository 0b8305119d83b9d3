"""Convolutional cells against torch.nn.LSTMCell, a cell written out by hand, and gradcheck."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from components.layers.convlstm import ConvGRU, ConvLSTM

B, T, C, M = 2, 4, 3, 5


def rows(maps: torch.Tensor) -> torch.Tensor:
    """(B, T, C, 1, 1) -> (T, B, C)."""
    return maps[..., 0, 0].transpose(0, 1)


def test_without_peepholes_a_pixel_is_torchs_lstm_cell():
    torch.manual_seed(0)
    layer, cell, inputs = ConvLSTM(C, M, kernel=1), nn.LSTMCell(C, M), torch.randn(B, T, C, 1, 1)
    with torch.no_grad():
        cell.weight_ih.copy_(layer.from_input.weight[..., 0, 0])
        cell.weight_hh.copy_(layer.from_hidden.weight[..., 0, 0])
        cell.bias_ih.copy_(layer.from_input.bias)
        cell.bias_hh.zero_()
    state, expected = None, []
    for frame in rows(inputs):
        state = cell(frame, state)
        expected.append(state[0])
    torch.testing.assert_close(rows(layer(inputs)), torch.stack(expected))


def test_peepholes_the_output_gate_sees_the_new_cell():
    torch.manual_seed(0)
    layer, inputs = ConvLSTM(C, M, kernel=1), torch.randn(B, T, C, 1, 1)
    nn.init.normal_(layer.peepholes)
    given, across, bias = layer.from_input.weight[..., 0, 0], layer.from_hidden.weight[..., 0, 0], layer.from_input.bias
    w_i, w_f, w_o = layer.peepholes[..., 0, 0]
    hidden = cell = torch.zeros(B, M)
    expected = []
    for frame in rows(inputs):
        i, f, c, o = (frame @ given.T + hidden @ across.T + bias).split(M, dim=1)
        old = cell
        cell = torch.sigmoid(f + w_f * old) * old + torch.sigmoid(i + w_i * old) * torch.tanh(c)
        hidden = torch.sigmoid(o + w_o * cell) * torch.tanh(cell)
        expected.append(hidden)
    torch.testing.assert_close(rows(layer(inputs)), torch.stack(expected))


def test_gru_resets_before_the_matrix():
    torch.manual_seed(0)
    layer, inputs = ConvGRU(C, M, kernel=1), torch.randn(B, T, C, 1, 1)
    w, b = layer.from_input.weight[..., 0, 0], layer.from_input.bias
    u, u_h = layer.gates.weight[..., 0, 0], layer.candidate.weight[..., 0, 0]
    hidden, expected = torch.zeros(B, M), []
    for frame in rows(inputs):
        x = frame @ w.T + b
        z, r = torch.sigmoid(x[:, : 2 * M] + hidden @ u.T).chunk(2, dim=1)
        hidden = (1 - z) * hidden + z * torch.tanh(x[:, 2 * M :] + (r * hidden) @ u_h.T)
        expected.append(hidden)
    torch.testing.assert_close(rows(layer(inputs)), torch.stack(expected))


def test_the_notes_parameter_counts():
    # T17: d = 10, h = 20, one bias: LSTM 2480 and GRU 1860; peepholes are three numbers a channel more
    assert sum(p.numel() for p in ConvLSTM(10, 20, kernel=1).parameters()) == 2480 + 60
    assert sum(p.numel() for p in ConvGRU(10, 20, kernel=1).parameters()) == 1860


@pytest.mark.parametrize("kind", [ConvLSTM, ConvGRU])
def test_a_state_is_as_large_as_the_map_and_sees_no_later_frame(kind):
    layer, inputs = kind(C, M), torch.randn(B, T, C, 5, 7)
    before = layer(inputs)
    assert before.shape == (B, T, M, 5, 7)
    changed = inputs.clone()
    changed[:, 2:] = 0
    after = layer(changed)
    assert torch.equal(before[:, :2], after[:, :2]) and not torch.allclose(before[:, 2:], after[:, 2:])


@pytest.mark.parametrize("kind", [ConvLSTM, ConvGRU])
def test_gradients(kind):
    torch.manual_seed(0)
    layer = kind(1, 2).double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.3)
    assert torch.autograd.gradcheck(layer, torch.randn(1, 3, 1, 3, 2, dtype=torch.float64, requires_grad=True))
    inputs = torch.randn(1, 3, 1, 3, 2, dtype=torch.float64)

    def by_weights(*weights):
        return torch.func.functional_call(layer, dict(zip(dict(layer.named_parameters()), weights, strict=True)), inputs)

    assert torch.autograd.gradcheck(by_weights, tuple(p.detach().requires_grad_() for p in layer.parameters()))
