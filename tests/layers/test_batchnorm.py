"""Synchronised batch normalisation: two processes with parts of a batch against torch's own layer with all of it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.parallel import DistributedDataParallel

from components.layers.batchnorm import synchronise
from components.training.session import Session
from tests.training.group import Group

ROWS = 8


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> Iterator[Group]:
    group = Group(2, tmp_path_factory.mktemp("pair"))
    yield group
    group.close()


def own(values: Tensor, rank: int, split: int) -> Tensor:
    """Rank 0's first rows, or rank 1's others."""
    return values[:split] if rank == 0 else values[split:]


def steps(layer: nn.Module, inputs: Tensor, weights: Tensor) -> dict[str, Any]:
    """Two training steps with the loss `sum(weights * outputs^2)`, then one row in evaluation."""
    for _ in range(2):
        layer.zero_grad()
        leaf = inputs.clone().requires_grad_()
        outputs = layer(leaf)
        (weights * outputs.square()).sum().backward()
    gradients = {name: parameter.grad for name, parameter in layer.named_parameters()}
    state = {k: v.clone() for k, v in layer.state_dict().items()}
    return {
        "outputs": outputs.detach(),
        "inputs.grad": leaf.grad,
        "gradients": gradients,
        "state": state,
        "dtype": outputs.dtype,
        "evaluated": layer.eval()(inputs[:1]).detach(),
    }


def work(session: Session, layer: nn.Module, inputs: Tensor, weights: Tensor, split: int) -> dict[str, Any]:
    layer = synchronise(copy.deepcopy(layer))  # what comes through the pipe lies in memory that all processes share
    return steps(layer, own(inputs, session.rank, split), own(weights, session.rank, split))


def problem(*shape: int, mean: float = 3.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)
    channels = torch.arange(1.0, shape[0] + 1).reshape(-1, *[1] * (len(shape) - 1))
    values = torch.randn(ROWS, *shape, generator=generator, dtype=torch.float64) * channels + mean
    return values, torch.randn(ROWS, *shape, generator=generator, dtype=torch.float64)


CASES = {
    "1d": (nn.BatchNorm1d(5), (5,)),
    "1d sequences": (nn.BatchNorm1d(5), (5, 3)),
    "2d": (nn.BatchNorm2d(3, eps=1e-2, momentum=0.4), (3, 4, 2)),
    "3d": (nn.BatchNorm3d(2), (2, 2, 3, 2)),
    "cumulative average": (nn.BatchNorm1d(4, momentum=None), (4,)),
    "no weights": (nn.BatchNorm1d(4, affine=False), (4,)),
}


@pytest.mark.parametrize("split", [4, 7, 8])  # equal parts, uneven ones, and a worker without rows
@pytest.mark.parametrize("case", list(CASES))
def test_two_workers_are_one_with_the_whole_batch(pair, case, split):
    layer, shape = CASES[case]
    layer = copy.deepcopy(layer).double()
    for i, parameter in enumerate(layer.parameters()):
        nn.init.uniform_(parameter, i + 0.5, i + 1.5)  # gamma and beta that can be told from 1, 0 and each other
    inputs, weights = problem(*shape)
    parts = pair.run(2, work, layer, inputs, weights, split)
    whole = steps(layer, inputs, weights)
    for name in ("outputs", "inputs.grad"):
        torch.testing.assert_close(torch.cat([part[name] for part in parts]), whole[name])
    for name, gradient in whole["gradients"].items():  # of the sum of the losses; DDP adds these up
        torch.testing.assert_close(sum(part["gradients"][name] for part in parts), gradient)
    for part in parts:
        torch.testing.assert_close(part["state"], whole["state"])
    torch.testing.assert_close(parts[0]["evaluated"], whole["evaluated"])


def test_without_running_statistics_evaluation_looks_at_its_own_batch(pair):
    inputs, weights = problem(4)
    layer = nn.BatchNorm1d(4, track_running_stats=False).double()
    parts = pair.run(2, work_without_evaluation, layer, inputs, weights)
    expected = layer(inputs)
    torch.testing.assert_close(torch.cat([trained for trained, _ in parts]), expected)
    torch.testing.assert_close(parts[0][1], layer.eval()(inputs[:4]))


def work_without_evaluation(session: Session, layer: nn.Module, inputs: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    layer = synchronise(layer)
    mine = own(inputs, session.rank, 4)
    return layer(mine).detach(), layer.eval()(mine).detach()


def test_a_mean_far_above_the_deviation_loses_nothing(pair):
    """Values around 1000 with deviation 1 in float32: E[x^2] - mu^2 in float32 would be off by some 0.1, of a variance of 1."""
    values, weights = problem(1, 6, 6, mean=1000.0)
    layer = nn.BatchNorm2d(1)
    parts = pair.run(2, work, layer, values.float(), weights.float(), 3)
    exact = steps(copy.deepcopy(layer).double(), values.float().double(), weights)
    torch.testing.assert_close(torch.cat([part["outputs"] for part in parts]).double(), exact["outputs"], rtol=0, atol=2e-4)
    torch.testing.assert_close(parts[0]["state"]["running_var"].double(), exact["state"]["running_var"], rtol=1e-5, atol=0)


def test_half_precision_is_computed_in_float32(pair):
    values, weights = problem(3, 4, 4)
    parts = pair.run(2, work, nn.BatchNorm2d(3), values.bfloat16(), weights.bfloat16(), 5)
    whole = steps(nn.BatchNorm2d(3), values.bfloat16(), weights.bfloat16())
    assert parts[0]["dtype"] == torch.bfloat16
    torch.testing.assert_close(torch.cat([part["outputs"] for part in parts]), whole["outputs"])
    torch.testing.assert_close(parts[0]["state"], whole["state"])


def network() -> nn.Module:
    torch.manual_seed(0)
    hidden = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    return nn.Sequential(hidden, nn.Flatten(), nn.Linear(4 * 4 * 4, 5), nn.BatchNorm1d(5)).double()


def train(model: nn.Module, wrapped: nn.Module, inputs: Tensor, share: float) -> dict[str, Tensor]:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        (wrapped(inputs).square() * inputs[:, 0, 0, :1]).sum().mul(share).backward()
        optimizer.step()
    return {k: v.clone() for k, v in model.state_dict().items()}


def train_in_ddp(session: Session, inputs: Tensor, split: int) -> dict[str, Tensor]:
    model = synchronise(network())
    return train(model, DistributedDataParallel(model), own(inputs, session.rank, split), session.world / ROWS)


@pytest.mark.parametrize("split", [4, 7])
def test_three_steps_in_ddp_are_those_of_one_process(pair, split):
    inputs, _ = problem(1, 8, 8)
    model = network()
    expected = train(model, model, inputs, 1 / ROWS)
    for state in pair.run(2, train_in_ddp, inputs, split):
        torch.testing.assert_close(state, expected)


def one_value(session: Session) -> str:
    layer = synchronise(nn.BatchNorm1d(2))
    with pytest.raises(ValueError, match="more than 1 value"):
        layer(torch.ones(1 - session.rank, 2))
    with pytest.raises(ValueError, match="2D or 3D"):
        layer(torch.ones(2, 2, 2, 2))
    return "refused"


def test_one_value_on_all_workers_is_refused_by_all(pair):
    assert pair.run(2, one_value) == ["refused", "refused"]


def test_one_process_alone_computes_what_it_did_before():
    inputs, weights = problem(3, 4, 4)
    layer = nn.BatchNorm2d(3).double()
    found, expected = steps(synchronise(copy.deepcopy(layer)), inputs, weights), steps(layer, inputs, weights)
    assert torch.equal(found["outputs"], expected["outputs"]) and torch.equal(found["inputs.grad"], expected["inputs.grad"])


def test_layers_stay_what_they_are_but_for_their_way_forward():
    model = network()
    before = dict(model.named_parameters()), list(model.state_dict())
    same = synchronise(model)
    assert same is model
    assert (dict(model.named_parameters()), list(model.state_dict())) == before
    assert isinstance(model[0][1], nn.BatchNorm2d) and type(model[0][1]) is not nn.BatchNorm2d
    assert type(model[0][0]) is nn.Conv2d
    assert isinstance(synchronise(nn.BatchNorm1d(2)), nn.BatchNorm1d)


def test_on_a_gpu_torch_s_own_layer_takes_over():
    with FakeTensorMode():  # stands for a GPU: tensors that know their device and have no content
        model = nn.Sequential(nn.ReLU(), nn.BatchNorm2d(4, device="cuda"))
        assert type(synchronise(model)[1]) is nn.SyncBatchNorm
