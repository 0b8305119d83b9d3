"""What hooks, gradients and updates are measured to be, against torch's own functions and numbers worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from components.training.watch.activations import Activations
from components.training.watch.look import put_together
from components.training.watch.parameters import Parameters
from components.training.watch.tape import Entry, Tape


def measured(network: nn.Module, *batches: torch.Tensor, close: bool = False):
    tape = Tape()
    activations = Activations({"model": network}, tape)
    with activations.hooked():
        for batch in batches:
            network(batch)
    if close:
        activations.close_window()
    return put_together(tape.read(), {})


def test_the_tape_hands_over_in_order_and_only_once():
    tape = Tape()
    tape.write("a", "x", torch.tensor([1.0, 2.0], dtype=torch.bfloat16), weight=3)
    tape.write("b", "y", torch.tensor(True))
    tape.write("a", "x", torch.tensor(2**24 + 1))  # not a float32
    assert tape.read() == [Entry("a", "x", 3, (1.0, 2.0)), Entry("b", "y", 1, (1.0,)), Entry("a", "x", 1, (16777217.0,))]
    assert tape.read() == []


def test_one_transfer_for_all_numbers(monkeypatch):
    network, calls = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2)), []
    for name in ("item", "tolist", "__float__", "__bool__", "cpu", "numpy"):
        method = getattr(torch.Tensor, name)
        monkeypatch.setattr(torch.Tensor, name, lambda self, *a, _m=method, _n=name, **k: (calls.append(_n), _m(self, *a, **k))[1])
    tape = Tape()
    activations, parameters = Activations({"model": network}, tape), Parameters("model", network, tape)
    with activations.hooked():
        network(torch.ones(3, 4)).sum().backward()
    parameters.before_update()
    parameters.after_update()
    activations.close_window()
    assert calls == []
    assert len(tape.read()) > 10 and calls == ["tolist"]


def test_moments_of_several_calls_are_those_of_all_values():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 5), nn.Identity(), nn.Linear(5, 2))
    batches = [torch.randn(7, 3), 50 + torch.randn(2, 3)]  # unequal sizes and means
    look = measured(network, *batches)
    values = network[0](torch.cat(batches)).detach().double()
    assert look["std"] == {"model.0": pytest.approx(values.std(correction=0).item(), rel=1e-5)}
    assert look["mean"] == {"model.0": pytest.approx(values.mean().item(), rel=1e-5)}


def test_a_network_s_last_layer_is_left_out_of_activations():
    tape = Tape()
    networks = {"one": nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), "two": nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))}
    with Activations(networks, tape).hooked():
        networks["two"](networks["one"](torch.ones(1, 2)))
    assert list(put_together(tape.read(), {})["std"]) == ["one.0", "two.0"]


def test_dead_units_over_a_window():
    """Inputs are one-hot, weights the identity, biases -2: a unit is active only for an input of 3 at its place."""
    network = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    with torch.no_grad():
        network[0].weight.copy_(torch.eye(4))
        network[0].bias.fill_(-2.0)
    rows = 3 * torch.eye(4)
    assert measured(network, rows[:1], close=True)["dead"] == {"model.1": 0.75}
    assert measured(network, rows[:1], rows[2:4], close=True)["dead"] == {"model.1": 0.25}
    assert measured(network, rows[:1])["dead"] == {}  # the window is still open


def test_a_window_forgets_the_one_before():
    relu, tape = nn.ReLU(), Tape()
    activations = Activations({"model": relu}, tape)
    for batch, dead in ((torch.ones(1, 2), 0.0), (torch.tensor([[1.0, -1.0]]), 0.5)):
        with activations.hooked():
            relu(batch)
        activations.close_window()
        assert put_together(tape.read(), {})["dead"] == {"model": dead}


@pytest.mark.parametrize(
    ("network", "shape", "dead"),
    [
        (nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU()), (2, 1, 3, 3), 0.25),  # (B, C, H, W): channels
        (nn.Sequential(nn.Conv1d(1, 4, 1), nn.ReLU()), (2, 1, 5), 0.25),  # (B, C, T): channels
        (nn.Sequential(nn.Linear(1, 4), nn.ReLU()), (2, 5, 1), 0.25),  # (B, T, C): the last axis
        (nn.Sequential(nn.Linear(1, 4), nn.ReLU()), (2, 3, 5, 1), 0.25),  # (B, H, W, C): the last axis
        (nn.Sequential(nn.Linear(1, 4), nn.ReLU(inplace=True)), (2, 1), 0.25),
    ],
)
def test_a_unit_is_a_channel_whatever_the_layout(network, shape, dead):
    with torch.no_grad():
        network[0].weight.fill_(1.0)
        network[0].bias.copy_(torch.tensor([0.0, 0.0, -9.0, 0.0]))
    assert measured(network, torch.ones(shape), close=True)["dead"] == {"model.1": dead}


@pytest.mark.parametrize(("layer", "limit"), [(nn.Sigmoid(), 10.0), (nn.Tanh(), 5.0), (nn.Hardsigmoid(), 3.0)])
def test_saturation_by_the_input_s_size(layer, limit):
    inputs = limit * torch.tensor([[-1.1, -0.9, 0.0, 0.9, 1.1, 2.0, -0.1, 0.5]])
    assert measured(nn.Sequential(layer), inputs)["saturated"] == {"model.0": pytest.approx(3 / 8)}


def test_sigmoid_and_tanh_are_held_to_one_derivative():
    """T14: 4.5e-5 at 10; tanh(x) = 2 sigmoid(2x) - 1 has four times the derivative of the sigmoid at 2x."""
    slopes = []
    for function, at in ((torch.sigmoid, 10.0), (torch.tanh, 5.0)):
        x = torch.tensor(at, dtype=torch.float64, requires_grad=True)
        slopes += torch.autograd.grad(function(x), x)
    assert slopes[0].item() == pytest.approx(4.5e-5, rel=0.01) and slopes[1].item() == pytest.approx(4 * slopes[0].item())


def test_a_number_that_is_not_finite_is_noted_where_it_arises():
    class Break(nn.Module):
        def forward(self, inputs):
            return inputs / 0, None

    class Take(nn.Module):
        def forward(self, inputs):
            return inputs[0]

    look = measured(nn.Sequential(nn.Linear(2, 2), Break(), Take()), torch.ones(1, 2))
    assert [layer for layer, bad in look["not_finite"].items() if bad] == ["model.1", "model.2", "model"]


def test_hooks_are_there_only_inside_even_after_an_error():
    network = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    tape = Tape()
    with pytest.raises(RuntimeError), Activations({"model": network}, tape).hooked():
        assert network[1]._forward_hooks
        network(torch.ones(1, 3))
    assert not any(module._forward_hooks for module in network.modules())
    tape.read()
    network(torch.ones(1, 2))
    assert tape.read() == []


@pytest.mark.parametrize("outputs", [torch.zeros(0, 3), torch.tensor(1.0), torch.arange(3), "text", None])
def test_odd_outputs_are_no_error(outputs):
    class Odd(nn.ReLU):
        def forward(self, inputs):
            return outputs

    measured(Odd(), torch.ones(1), close=True)


def test_a_module_of_two_networks_is_measured_once():
    shared = nn.Linear(2, 2)
    tape = Tape()
    with Activations({"a": nn.Sequential(shared), "b": nn.Sequential(shared)}, tape).hooked():
        shared(torch.ones(1, 2))
    assert [e.layer for e in tape.read() if e.quantity == "activation"] == ["a.0"]


def updated(network: nn.Module, change: float, gradient: float | None = 0.5):
    tape = Tape()
    parameters = Parameters("model", network, tape)
    for parameter in network.parameters():
        parameter.grad = None if gradient is None else torch.full_like(parameter, gradient)
    parameters.before_update()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += change
    parameters.after_update()
    return put_together(tape.read(), parameters.fresh_scales())


def test_update_and_gradient_by_hand():
    """Weights (2, 4) of 0.1, moved by 0.001: ratio 1e-2; a fresh layer's are 1 / sqrt(4) = 0.5, so size 2e-3. Norm: 0.5 sqrt(8 + 2)."""
    network = nn.Linear(4, 2)
    nn.init.constant_(network.weight, 0.1)
    nn.init.constant_(network.bias, -3.0)
    look = updated(network, 0.001)
    assert look["update_ratio"] == {"model.weight": pytest.approx(1e-2, rel=1e-4)}
    assert look["update_size"] == {"model.weight": pytest.approx(2e-3, rel=1e-4)}
    assert look["weight_before"]["model.weight"] == pytest.approx(0.2) and look["weight_size"]["model.weight"] == pytest.approx(0.202)
    assert look["bias"] == {"model.bias": pytest.approx(2.999)} and look["bias_before"] == {"model.bias": pytest.approx(3.0)}
    assert look["gradient"] == {"model.weight": pytest.approx(0.5), "model.bias": pytest.approx(0.5)}
    assert look["gradient_norm"] == {"model": pytest.approx(0.5 * math.sqrt(10))}
    norm = nn.utils.clip_grad_norm_(network.parameters(), 1e9)
    assert look["gradient_norm"]["model"] == pytest.approx(norm.item())


def test_a_weight_of_zeros_has_a_size_and_no_ratio():
    network = nn.Linear(4, 2)
    nn.init.zeros_(network.weight)
    look = updated(network, 0.05)
    assert "model.weight" not in look["update_ratio"] and look["update_size"]["model.weight"] == pytest.approx(0.1)


def test_flow_is_relative_to_the_network_s_largest_weight_gradient():
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    tape = Tape()
    parameters = Parameters("model", network, tape)
    for parameter, value in zip(network.parameters(), (1e-3, 9.0, 2.0, None), strict=True):
        parameter.grad = None if value is None else torch.full_like(parameter, value)
    parameters.before_update()
    look = put_together(tape.read(), parameters.fresh_scales())
    assert look["flow"] == {"model.0.weight": pytest.approx(5e-4), "model.1.weight": 1.0}
    assert look["gradient"]["model.1.bias"] == 0.0


def test_what_was_frozen_before_is_left_alone():
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    network[0].requires_grad_(False)
    assert set(updated(network, 0.1)["gradient"]) == {"model.1.weight", "model.1.bias"}


def test_singular_values_of_a_convolution_by_numpy():
    torch.manual_seed(0)
    tape, network = Tape(), nn.Conv2d(3, 8, 2)
    Parameters("model", network, tape).singular_values()
    look = put_together(tape.read(), {})
    values = torch.from_numpy(np.linalg.svd(network.weight.detach().reshape(8, 12).numpy())[1])
    assert look["spectral"] == {"model.weight": pytest.approx(values[0].item(), rel=1e-5)}
    assert look["stable_rank"] == {"model.weight": pytest.approx((values.square().sum() / values[0] ** 2).item(), rel=1e-5)}


@pytest.mark.parametrize(("matrix", "rank"), [(torch.eye(6), 6.0), (torch.ones(6, 6), 1.0), (torch.zeros(6, 6), 0.0)])
def test_stable_rank_by_hand(matrix, rank):
    tape, network = Tape(), nn.Linear(6, 6)
    network.weight.data = matrix
    Parameters("model", network, tape).singular_values()
    assert put_together(tape.read(), {})["stable_rank"]["model.weight"] == pytest.approx(rank, rel=1e-5)


def test_shares_of_the_loss_within_a_phase():
    entries = [Entry("loss", "g.a", 1, (4.0,)), Entry("loss", "g.b", 1, (1.0,)), Entry("loss", "d.a", 1, (0.5,)), Entry("loss", "g.b", 1, (3.0,))]
    assert put_together(entries, {})["loss_share"] == {"g.a": 1.0, "g.b": 0.5, "d.a": 1.0}


def test_a_network_that_fsdp_has_shared_out_is_measured_alike(tmp_path):
    """One process, so that its piece is the whole; `fully_shard` puts other parameters in place after the watch was made."""
    from torch.distributed.fsdp import fully_shard

    def measure(network: nn.Module, tape: Tape, parameters: Parameters):
        network(torch.ones(3, 4)).sum().backward()
        parameters.before_update()
        torch.optim.SGD(network.parameters(), lr=0.1).step()
        parameters.after_update()
        return put_together(tape.read(), parameters.fresh_scales())

    looks = []
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        for shared_out in (False, True):
            torch.manual_seed(0)
            network, tape = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2)), Tape()
            parameters = Parameters("model", network, tape)
            if shared_out:
                fully_shard(network, mesh=torch.distributed.init_device_mesh("cpu", (1,)))
            looks.append(measure(network, tape, parameters))
    finally:
        torch.distributed.destroy_process_group()
    for quantity in ("gradient", "update_ratio", "bias", "gradient_norm"):
        assert looks[0][quantity] and looks[1][quantity] == pytest.approx(looks[0][quantity])
