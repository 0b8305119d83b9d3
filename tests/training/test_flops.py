"""Operations counted against sums worked by hand, peaks against units x clock."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.layers.dropout import Dropout
from components.models.cnn.lenet5 import LeNet5
from components.tasks.base import Task
from components.tasks.classification import Classification
from components.training.flops import peak_flops, step_flops
from tests.training.systems import GanTask, ToyGan, Weighted

B = 5


def task(kind: type[Classification] = Classification) -> Classification:
    made = kind.__new__(kind)  # no card is needed to count
    made.loss = nn.CrossEntropyLoss(reduction="none")
    return made


def batch(*shape: int) -> dict[str, Tensor]:
    return {"inputs": torch.zeros(B, *shape), "targets": torch.zeros(B, dtype=torch.int64), "sample_id": torch.arange(B)}


def test_a_linear_layer_makes_2bio_forward_and_as_much_for_its_weights():
    assert step_flops(task(), nn.Linear(7, 3), batch(7)) == 2 * (2 * B * 7 * 3)


def test_a_second_layer_s_inputs_need_a_gradient_too():
    model = nn.Sequential(nn.Linear(7, 4), nn.ReLU(), nn.Linear(4, 3))
    assert step_flops(task(), model, batch(7)) == 2 * (2 * B * 7 * 4) + 3 * (2 * B * 4 * 3)


def test_a_frozen_first_layer_needs_no_backward_pass():
    model = nn.Sequential(nn.Linear(7, 4), nn.ReLU(), nn.Linear(4, 3))
    model[0].requires_grad_(False)
    assert step_flops(task(), model, batch(7)) == 2 * B * 7 * 4 + 2 * (2 * B * 4 * 3)


def test_lenet_5():
    """C1 and C3 by 2 x outputs x (inputs of one output), layer sizes of LeCun et al. 1998, figure 2, with C3 fully connected to S2."""
    first = 2 * (28 * 28 * 6) * (5 * 5 * 1)
    others = [2 * (10 * 10 * 16) * (5 * 5 * 6), 2 * 400 * 120, 2 * 120 * 84, 2 * 84 * 10]
    assert step_flops(task(), LeNet5(), batch(1, 32, 32)) == B * (2 * first + 3 * sum(others))


class Attention(nn.Module):
    """(B, T, 8) -> (B, 8): two heads of four dimensions, one projection to queries, keys and values."""

    def __init__(self) -> None:
        super().__init__()
        self.projection = nn.Linear(8, 24)

    def forward(self, inputs: Tensor) -> Tensor:
        length = inputs.shape[1]
        queries, keys, values = (x.unflatten(2, (2, 4)).transpose(1, 2) for x in self.projection(inputs).chunk(3, dim=2))
        mixed = F.scaled_dot_product_attention(queries, keys, values).transpose(1, 2).reshape(-1, length, 8)
        return mixed.mean(dim=1)


def test_attention_makes_two_products_of_t_by_t_in_each_head():
    """scores Q K' and their product with V: 2 T T D each; backward both sides of each. The kernel that a CPU runs has no count of its own."""
    length = 6
    projection, products = 2 * B * length * 8 * 24, 2 * (2 * B * 2 * length * length * 4)
    assert step_flops(task(), Attention(), batch(length, 8)) == 2 * projection + 3 * products


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 6, batch_first=True)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.lstm(inputs)[0][:, -1]


def test_an_lstm_makes_four_gates_a_step():
    """T steps of (inputs 3 + hidden 6) x 4 gates of 6; backward: weights of both, and the gradient through the hidden side of every step."""
    length = 4
    inputs, hidden = 2 * B * length * 3 * 24, 2 * B * length * 6 * 24
    # The gradient of the first step's hidden state, which is a constant, is left out.
    assert step_flops(task(), Recurrent(), batch(length, 3)) == 2 * inputs + 3 * hidden - hidden // length


class Adversarial(GanTask):
    """Without the notes, which compare values."""

    def _note(self, networks, context):
        pass


def test_every_phase_counts_and_only_its_own_network_gets_gradients_of_weights():
    """Noise 4 -> 64 -> 1. Discriminator: fake and real pass, weights of both passes. Generator: through both, back to its own weights."""
    generator, discriminator = 2 * B * 4 * 64, 2 * B * 64 * 1
    first = generator + 2 * discriminator + 2 * discriminator
    second = generator + discriminator + discriminator + generator
    assert step_flops(Adversarial(), ToyGan(normalise=False), batch(1, 8, 8)) == first + second


def test_dropout_by_sample_is_handed_draws():
    model = nn.Sequential(Dropout(0.5), nn.Linear(7, 3))
    assert step_flops(task(), model, batch(7)) == 2 * (2 * B * 7 * 3)
    assert model[0].keys is None


class Weighing(Classification):
    """Holds tensors of its own, in a module and bare, and shares one with the model."""

    def __init__(self, model: nn.Module) -> None:
        self.loss = nn.CrossEntropyLoss(torch.tensor([1.0, 2.0, 3.0]), reduction="none")
        self.scale, self.first = torch.ones(3), model[0].weight  # type: ignore[index]

    def losses(self, networks, batch, context):
        logits = networks["model"](batch["inputs"]) * self.scale + torch.arange(3)
        assert self.first is networks["model"][0].weight
        return {"loss": self.loss(logits, batch["targets"]).sum()}


def test_tensors_of_the_task_travel_with_it():
    model = nn.Sequential(nn.Linear(7, 3), nn.BatchNorm1d(3))
    assert step_flops(Weighing(model), model, batch(7)) == 2 * (2 * B * 7 * 3)


def test_nothing_is_changed():
    model, gan = nn.Sequential(nn.Linear(7, 3), nn.BatchNorm1d(3), nn.Dropout()), ToyGan(normalise=True)
    before, flags = copy.deepcopy((model.state_dict(), gan.state_dict())), [p.requires_grad for p in gan.parameters()]
    state, noting = torch.get_rng_state(), GanTask()
    assert step_flops(task(), model, batch(7)) and step_flops(Adversarial(), gan, batch(1, 8, 8))
    assert step_flops(noting, gan, batch(1, 8, 8)) is None and noting.notes == {"phases": [], "moved": []}
    for old, new in zip(before, (model.state_dict(), gan.state_dict()), strict=True):
        assert all(torch.equal(old[k], new[k]) for k in old)
    assert torch.equal(state, torch.get_rng_state())
    assert all(p.grad is None for p in (*model.parameters(), *gan.parameters())) and [p.requires_grad for p in gan.parameters()] == flags


def test_nothing_is_held():
    """4 TB of weights."""
    model = nn.Linear(10**6, 10**6, device="meta")
    assert step_flops(task(), model, batch(10**6)) == 4 * B * 10**12


class Reading(Classification):
    """Looks at a value."""

    def losses(self, networks, batch, context):
        found = super().losses(networks, batch, context)
        return found if found["loss"].item() >= 0 else {}


@pytest.mark.parametrize("kind", [Weighted, Reading], ids=["picks rows by a mask", "looks at a value"])
def test_a_task_that_needs_values_has_no_count(kind: type[Task]):
    assert step_flops(task(kind), nn.Linear(7, 3), batch(7)) is None


# Units x operations of a unit in a cycle x clock in GHz: NVIDIA's whitepapers of Volta, Turing, Ampere, Ada and Hopper.
UNITS = [
    ("Tesla V100-SXM2-16GB", 80, 64 * 2, 1.53, 512 * 2, 1.53),
    ("Tesla T4", 40, 64 * 2, 1.59, 512 * 2, 1.59),
    ("NVIDIA A100-SXM4-80GB", 108, 64 * 2, 1.41, 1024 * 2, 1.41),
    ("NVIDIA A100 80GB PCIe", 108, 64 * 2, 1.41, 1024 * 2, 1.41),
    ("NVIDIA H100 80GB HBM3", 132, 128 * 2, 1.98, 2048 * 2, 1.83),
    ("NVIDIA H100 PCIe", 114, 128 * 2, 1.755, 2048 * 2, 1.62),
    ("NVIDIA H200", 132, 128 * 2, 1.98, 2048 * 2, 1.83),
    ("NVIDIA L4", 58, 128 * 2, 2.04, 512 * 2, 2.04),
    ("NVIDIA L40S", 142, 128 * 2, 2.52, 512 * 2, 2.49),
    ("NVIDIA GeForce RTX 4090", 128, 128 * 2, 2.52, 256 * 2, 2.52),
    ("NVIDIA GeForce RTX 3090", 82, 128 * 2, 1.695, 256 * 2, 1.695),
]


@pytest.mark.parametrize(("name", "units", "plain", "plain_ghz", "tensor", "tensor_ghz"), UNITS, ids=[u[0] for u in UNITS])
def test_peaks_are_units_times_clock(name, units, plain, plain_ghz, tensor, tensor_ghz):
    assert peak_flops(name, "fp32") == pytest.approx(units * plain * plain_ghz * 1e9, rel=0.01)
    assert peak_flops(name, "fp16") == pytest.approx(units * tensor * tensor_ghz * 1e9, rel=0.01)
    assert peak_flops(name, "bf16") == (None if name.startswith("Tesla") else peak_flops(name, "fp16"))


@pytest.mark.parametrize(
    "name", ["cpu", "NVIDIA GeForce RTX 4090 Laptop GPU", "NVIDIA GeForce RTX 3090 Ti", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "NVIDIA L40"]
)
def test_what_is_not_in_the_table_has_no_peak(name):
    assert peak_flops(name, "fp16") is None
