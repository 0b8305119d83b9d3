"""The LSTM language model against the equations of the notes, and its state as rows."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from components.models.language.lstm import LSTM


@pytest.fixture
def model():
    torch.manual_seed(0)
    return LSTM(vocab_size=7, embedding_dim=5, hidden_dim=4, layers=2).double()


@pytest.fixture
def tokens():
    return torch.randint(7, (3, 10), generator=torch.Generator().manual_seed(1))


def test_parameters_by_hand():
    """Test T17 of 004: inputs of 10, 20 hidden, 4 gates with two biases: 4 (10 + 20 + 2) 20 = 2560."""
    model = LSTM(vocab_size=6, embedding_dim=10, hidden_dim=20)
    assert [sum(p.numel() for p in layer.parameters()) for layer in model.layers()] == [6 * 10, 2_560, 21 * 6]


def test_the_steps_are_those_of_the_equations(model, tokens):
    """f, i, o = sigmoid, g = tanh, c = f c + i g, h = o tanh(c) (notes 002 M37), layer upon layer; torch stacks the gates as i, f, g, o."""
    state = model.state_dict()
    hidden, cell = torch.zeros(2, 2, 3, 4, dtype=torch.float64)
    for t in range(10):
        below, above = state["embedding.weight"][tokens[:, t]], []
        for layer in (0, 1):
            weights, recurrent, bias, other = (state[f"lstm.{name}_l{layer}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
            i, f, g, o = (below @ weights.T + hidden[layer] @ recurrent.T + bias + other).chunk(4, dim=1)
            c = f.sigmoid() * cell[layer] + i.sigmoid() * g.tanh()
            below = o.sigmoid() * c.tanh()
            above.append((below, c))
        hidden, cell = (torch.stack(parts) for parts in zip(*above, strict=True))
    logits, after = model(tokens)
    torch.testing.assert_close(logits[:, -1], below @ state["output.weight"].T + state["output.bias"])
    torch.testing.assert_close(after, {"hidden": hidden.transpose(0, 1), "cell": cell.transpose(0, 1)})


def test_two_halves_with_the_state_between_are_the_whole(model, tokens):
    whole, end = model(tokens)
    first, between = model(tokens[:, :4])
    second, after = model(tokens[:, 4:], between)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole)
    torch.testing.assert_close(after, end)


def test_a_state_s_rows_are_the_batch_s(model, tokens):
    _, state = model(tokens)
    assert {name: value.shape for name, value in state.items()} == {"hidden": (3, 2, 4), "cell": (3, 2, 4)}
    picked, _ = model(tokens[1:2], {name: value[1:2] for name, value in state.items()})
    torch.testing.assert_close(picked, model(tokens, state)[0][1:2])


def test_no_state_is_zeros(model, tokens):
    zeros = {name: torch.zeros(3, 2, 4, dtype=torch.float64) for name in ("hidden", "cell")}
    assert torch.equal(model(tokens)[0], model(tokens, zeros)[0])


def test_shapes_on_meta():
    with torch.device("meta"):
        logits, state = LSTM(7, 5, 4, layers=3)(torch.zeros(2, 6, dtype=torch.int64))
    assert logits.shape == (2, 6, 7) and state["cell"].shape == (2, 3, 4)


def test_every_parameter_gets_a_gradient_and_lies_in_one_layer(model, tokens):
    model(tokens)[0].square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    in_layers = [p for layer in model.layers() for p in layer.parameters()]
    assert [id(p) for p in in_layers] == [id(p) for p in model.parameters()]
    assert isinstance(model.layers()[1], nn.LSTM)
