"""The average of the weights: its closed form, torch's AveragedModel, three classic mistakes (before resume, before update, while swapped)."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from components.errors import UserError
from components.optim.ema import Ema


class Network(nn.Module):
    """Tied weights, a norm with floating and integer buffers, a buffer that is not saved, a frozen parameter."""

    constant: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 3)
        self.norm = nn.BatchNorm1d(3)
        self.output = nn.Linear(3, 5)
        self.output.weight = self.embedding.weight
        self.output.bias.requires_grad_(False)
        self.register_buffer("constant", torch.ones(1), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """(B,) int64 -> logits (B, K)."""
        logits: Tensor = self.output(self.norm(self.embedding(inputs)))
        return logits * self.constant


def network(seed: int = 0) -> Network:
    torch.manual_seed(seed)
    return Network()


def train_step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    model(torch.tensor([0, 1, 2, 4])).logsumexp(1).sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1, momentum=0.9)


def snapshot(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in state.items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("decay", [0.0, 0.9, 1.0])
def test_the_average_is_the_closed_form(decay):
    """decay^T w_0 + (1 - decay) sum over t of decay^(T - t) w_t, of parameters and floating buffers; integers are the last ones."""
    model = network().double()
    ema, optimizer, seen = Ema(model, decay), sgd(model), [snapshot(model.state_dict())]
    for _ in range(6):
        train_step(model, optimizer)
        ema.update(model)
        seen.append(snapshot(model.state_dict()))
    for name, average in ema.state().items():
        if average.is_floating_point():
            expected = decay**6 * seen[0][name] + (1 - decay) * sum(decay ** (6 - t) * seen[t][name] for t in range(1, 7))
            torch.testing.assert_close(average, expected, rtol=1e-12, atol=1e-14)
    assert ema.state()["norm.num_batches_tracked"].item() == 6
    assert not torch.equal(seen[0]["norm.running_mean"], seen[6]["norm.running_mean"])  # the test would be empty otherwise


def test_one_weight_by_hand():
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 1.0)
    ema, expected = Ema(model, 0.5), []
    for value in (3.0, 4.0, 0.0):
        nn.init.constant_(model.weight, value)
        ema.update(model)
        expected.append(ema.state()["weight"].item())
    assert expected == [2.0, 3.0, 1.5]
    assert model.weight.item() == 0.0  # updating leaves the model alone


def test_it_is_torch_s_averaged_model():
    model = network()
    ema, optimizer = Ema(model, 0.8), sgd(model)
    reference = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.8), use_buffers=True)
    reference.update_parameters(model)  # its first update copies
    for _ in range(5):
        train_step(model, optimizer)
        ema.update(model)
        reference.update_parameters(model)
    averaged = reference.module.state_dict()
    floating = {name: value for name, value in ema.state().items() if value.is_floating_point()}
    assert len(floating) == len(averaged) - 1
    for name, value in floating.items():
        torch.testing.assert_close(value, averaged[name])


def test_the_state_has_the_keys_of_the_model_s_and_fits_a_fresh_model():
    model = network()
    ema = Ema(model, 0.9)
    train_step(model, sgd(model))
    ema.update(model)
    state = ema.state()
    assert list(state) == list(model.state_dict()) and "embedding.weight" in state and "output.weight" in state and "constant" not in state
    assert all(not value.requires_grad and value.dtype == model.state_dict()[name].dtype for name, value in state.items())
    assert torch.equal(state["embedding.weight"], state["output.weight"])
    fresh = network(1)
    fresh.load_state_dict(state)
    assert same(fresh.state_dict(), state)


def test_tied_weights_are_averaged_once():
    model = network()
    ema = Ema(model, 0.75)
    start = model.output.weight.detach().clone()
    with torch.no_grad():
        model.output.weight += 4.0
    ema.update(model)
    torch.testing.assert_close(ema.state()["output.weight"], start + 1.0)
    torch.testing.assert_close(ema.state()["embedding.weight"], start + 1.0)


def test_all_parameters_are_averaged_in_one_call(monkeypatch):
    sizes, lerp = [], torch._foreach_lerp_
    monkeypatch.setattr(torch, "_foreach_lerp_", lambda averages, weights, weight: sizes.append(len(averages)) or lerp(averages, weights, weight))
    model = network()
    Ema(model, 0.9).update(model)
    assert sizes == [len(list(model.parameters())), 2]  # then the two running statistics


def test_swapped_gives_the_averages_and_then_the_very_same_weights():
    model = network()
    ema, optimizer = Ema(model, 0.9), sgd(model)
    for _ in range(3):
        train_step(model, optimizer)
        ema.update(model)
    raw, averages = snapshot(model.state_dict()), snapshot(ema.state())
    tensors = {name: (id(value), value.data_ptr()) for name, value in model.state_dict(keep_vars=True).items()}
    assert not same(raw, averages)
    with ema.swapped(model):
        assert same(model.state_dict(), averages)
        assert {name: (id(v), v.data_ptr()) for name, v in model.state_dict(keep_vars=True).items()} == tensors
        model.train()(torch.tensor([0, 3]))  # moves the running statistics: neither the averages nor the raw ones may see it
        model.embedding.weight.data.zero_()
    assert same(model.state_dict(), raw) and same(ema.state(), averages)
    assert {name: (id(v), v.data_ptr()) for name, v in model.state_dict(keep_vars=True).items()} == tensors
    assert not model.output.bias.requires_grad and model.embedding.weight.requires_grad


def test_an_exception_while_swapped_brings_the_weights_back():
    model = network()
    ema = Ema(model, 0.9)
    train_step(model, sgd(model))
    raw = snapshot(model.state_dict())
    with pytest.raises(KeyError), ema.swapped(model):
        raise KeyError
    assert same(model.state_dict(), raw)
    ema.update(model)  # and the average goes on


def test_training_with_swaps_is_training_without():
    """The optimizer's references survive: steps after a swap move the model's own weights."""
    plain, swapping = network(), network()
    ema, ema_plain = Ema(swapping, 0.9), Ema(plain, 0.9)
    optimizers = sgd(plain), sgd(swapping)
    for _ in range(4):
        train_step(plain, optimizers[0])
        train_step(swapping, optimizers[1])
        ema.update(swapping)
        ema_plain.update(plain)
        with ema.swapped(swapping), torch.no_grad():
            swapping.eval()(torch.tensor([1]))
            swapping.train()
    assert same(plain.state_dict(), swapping.state_dict()) and same(ema.state(), ema_plain.state())


def test_mistake_1_made_before_the_weights_were_resumed():
    """An average made of the untrained weights is replaced whole by `load`; the run goes on as if it had never stopped."""
    model = network()
    ema, optimizer = Ema(model, 0.9), sgd(model)
    for _ in range(3):
        train_step(model, optimizer)
        ema.update(model)
    saved, saved_ema, saved_optimizer = snapshot(model.state_dict()), snapshot(ema.state()), copy.deepcopy(optimizer.state_dict())
    kept = snapshot(saved_ema)
    resumed = network(1)
    made_early = Ema(resumed, 0.9)
    resumed.load_state_dict(saved)
    made_early.load(saved_ema)
    again = sgd(resumed)
    again.load_state_dict(saved_optimizer)
    for _ in range(2):
        train_step(model, optimizer)
        ema.update(model)
        train_step(resumed, again)
        made_early.update(resumed)
    assert same(made_early.state(), ema.state()) and same(resumed.state_dict(), model.state_dict())
    assert same(saved_ema, kept)  # `load` copies: the checkpoint's tensors did not move


def test_mistake_2_swapped_before_the_first_update():
    model = network()
    ema, raw = Ema(model, 0.9), snapshot(model.state_dict())
    with ema.swapped(model):
        assert same(model.state_dict(), raw)
    assert same(model.state_dict(), raw)


def test_mistake_3_saved_or_updated_while_swapped():
    model = network()
    ema = Ema(model, 0.9)
    train_step(model, sgd(model))
    ema.update(model)
    outside = snapshot(ema.state())
    with ema.swapped(model):
        assert same(ema.state(), outside)
        with pytest.raises(AssertionError, match="averaged with themselves"):
            ema.update(model)
        with pytest.raises(AssertionError, match="already"), ema.swapped(model):
            pass  # a second swap would take the averages for the raw weights
        assert same(model.state_dict(), outside)
    assert same(ema.state(), outside) and not same(model.state_dict(), outside)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("norm.weight", None, r"'norm\.weight'\n  received: nothing\n  expected: shape \(3,\)"),
        ("norm.weight", torch.zeros(1), r"'norm\.weight'\n  received: shape \(1,\)\n  expected: shape \(3,\)"),  # copy_ would have spread it
        ("norm.wieght", torch.zeros(3), r"'norm\.wieght', did you mean 'norm\.weight'"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_whole(name, value, told):
    ema = Ema(network(), 0.9)
    before = snapshot(ema.state())
    state = snapshot(network(1).state_dict())
    state.pop(name, None)
    if value is not None:
        state[name] = value
    with pytest.raises(UserError, match=told):
        ema.load(state)
    assert same(ema.state(), before)


def test_models_without_weights_or_without_buffers():
    for model in (nn.ReLU(), nn.Linear(1, 1), nn.BatchNorm1d(2, affine=False)):
        ema = Ema(model, 0.9)
        ema.update(model)
        with ema.swapped(model):
            assert same(model.state_dict(), ema.state())


@pytest.mark.parametrize("decay", [-0.1, 1.1])
def test_a_decay_out_of_range_is_refused(decay):
    with pytest.raises(ValueError, match="decay"):
        Ema(nn.Linear(1, 1), decay)
