"""The bad number is named: which loss term, gradient and layer; and its step can be run again from a file."""

from __future__ import annotations

import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from components.errors import UserError
from components.training.nonfinite import any_not_finite, explain, first_bad_layer, read_replay, tensors, write_replay

NAN, INF = math.nan, math.inf


class Logarithm(nn.Module):
    """log x: -inf at 0."""

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, D) -> (B, D)."""
        return inputs.log()


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.ReLU(), Logarithm(), nn.Dropout(0.5), nn.Linear(3, 2))


@pytest.mark.parametrize(("value", "bad"), [(1.0, False), (NAN, True), (INF, True), (-INF, True)])
@pytest.mark.parametrize("wrap", [lambda t: t, lambda t: (t, None), lambda t: {"a": [torch.zeros(2), t]}, lambda t: [(t.half(),)]])
def test_not_finite_numbers_are_found_in_any_nest(value, bad, wrap):
    flag = any_not_finite(wrap(torch.tensor([0.0, value])))
    assert flag is not None and flag.shape == () and bool(flag) == bad


def test_integers_and_nothing_have_no_answer():
    assert any_not_finite(torch.arange(3)) is None
    assert any_not_finite(None) is None
    assert [t.item() for t in tensors([torch.tensor(1), {"x": (torch.tensor(2), "no")}])] == [1, 2]


def test_the_first_bad_layer_is_the_first_in_order_of_calls(network):
    # Half of the ReLU's outputs are 0 after the normalisation, so the logarithm is the first to be infinite.
    assert first_bad_layer(network, lambda: network(torch.randn(8, 4))) == "3 (Logarithm)"


def test_a_spoilt_weight_is_named_as_the_cause(network):
    with torch.no_grad():
        network[0].weight[1, 2] = NAN
    assert first_bad_layer(network, lambda: network(torch.randn(8, 4))) == "0 (Linear), whose weight is not finite"


def test_a_bad_input_is_not_the_layer_s_fault(network):
    inputs = torch.randn(8, 4)
    inputs[3, 1] = INF
    assert first_bad_layer(network, lambda: network(inputs)) == "the input of the whole network (Sequential)"
    parts = nn.ModuleDict({"model": network})  # the whole model, of which the call runs one network
    assert first_bad_layer(parts, lambda: network(inputs)) == "the input of model (Sequential)"


def test_a_function_between_modules_is_the_parent_s():
    class Root(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(2, 2)

        def forward(self, inputs: Tensor) -> Tensor:
            return self.inner(inputs) / 0

    root = Root()
    assert first_bad_layer(root, lambda: root(torch.ones(1, 2))) == "the whole network (Root)"


def test_all_finite_points_at_the_loss():
    layer = nn.Linear(2, 2)
    assert "look at the loss" in first_bad_layer(layer, lambda: layer(torch.ones(1, 2)))


def test_looking_again_leaves_no_trace(network):
    before = {k: v.clone() for k, v in network.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first_bad_layer(network, lambda: network(torch.randn(8, 4)))
    assert torch.equal(torch.rand(3), expected)  # the dropout drew from a copy of the generator
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name  # running means too
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())
    with pytest.raises(ZeroDivisionError):
        first_bad_layer(network, lambda: 1 / 0)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


def message(**changes) -> str:
    fields = {
        "step": 12,
        "rank": 3,
        "sample_ids": list(range(40, 52)),
        "learning_rates": {"generator": 0.004, "discriminator": 0.0001},
        "gradient_norm": NAN,
        "first_bad": "features.3 (Conv2d)",
        "replay": Path("/runs/replay.pt"),
    }
    gradients = [("a.weight", torch.tensor([NAN, NAN, INF, 1.0])), ("a.bias", torch.ones(2)), ("b.weight", None)]
    return explain({"reconstruction": NAN, "divergence": 0.125}, gradients, **{**fields, **changes})


def test_the_message_has_every_part():
    text = message()
    for part in (
        "step 12 on rank 3",
        "reconstruction nan, divergence 0.125",
        "1 of 3 are not finite: a.weight (NaN 2, infinite 1 of 4)",
        "gradient norm: nan",
        "generator 0.004, discriminator 0.0001",
        "40, 41, 42, 43, 44, 45, 46, 47 ... (12 in all)",
        "first bad layer: features.3 (Conv2d)",
        "/runs/replay.pt",
        "learning rate ten times lower, the usual cure within the first 100 steps",
    ):
        assert part in text, part


def test_the_message_says_what_it_does_not_know():
    text = message(gradient_norm=None, replay=None, step=100, sample_ids=[7])
    assert "gradient norm: not measured" in text and "to run again: not written" in text
    assert "samples: 7\n" in text and "usual cure" not in text


def test_many_bad_gradients_are_cut_short():
    gradients = [(f"layer{i}", torch.tensor([NAN])) for i in range(30)]
    text = explain({}, gradients, step=0, rank=0, sample_ids=[], learning_rates={}, gradient_norm=None, first_bad="", replay=None)
    assert "30 of 30" in text and "layer7 (" in text and "layer8" not in text and text.count("NaN 1") == 8


def step(network: nn.Module, optimizer: torch.optim.Optimizer, batch: dict[str, Tensor]) -> Tensor:
    loss = nn.functional.cross_entropy(network(batch["inputs"]), batch["targets"])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


def test_a_replay_runs_the_step_again_to_the_bit(tmp_path):
    def make() -> tuple[nn.Module, torch.optim.Optimizer]:
        network = nn.Sequential(nn.Linear(5, 4), nn.Dropout(0.5), nn.Linear(4, 3))
        return network, torch.optim.AdamW(network.parameters(), lr=0.1)

    torch.manual_seed(0)
    network, optimizer = make()
    batch = {"inputs": torch.randn(8, 5), "targets": torch.randint(3, (8,)), "sample_id": torch.arange(8)}
    for _ in range(3):
        step(network, optimizer, batch)
    states = {"networks": {"model": network.state_dict()}, "optimizers": {"main": optimizer.state_dict()}}
    write_replay(tmp_path / "replay.pt", batch, {"step": 3, "generator": torch.get_rng_state()}, states)
    expected = step(network, optimizer, batch)  # after writing, so the file must hold copies

    replay = read_replay(tmp_path / "replay.pt")
    again, its_optimizer = make()
    again.load_state_dict(replay["states"]["networks"]["model"])
    its_optimizer.load_state_dict(replay["states"]["optimizers"]["main"])
    torch.set_rng_state(replay["context"]["generator"])
    assert torch.equal(step(again, its_optimizer, replay["batch"]), expected)
    for mine, other in zip(again.parameters(), network.parameters(), strict=True):
        assert torch.equal(mine, other)


def test_plain_data_comes_back_as_it_was(tmp_path):
    context = {"seed": 1, "phase": "main", "precise": True, "rate": 0.1, "none": None, "list": [1, {"x": 2.5}], "carry": {"h": torch.ones(2, 3)}}
    write_replay(tmp_path / "r.pt", {"inputs": torch.zeros(1)}, context, {})
    found = read_replay(tmp_path / "r.pt")["context"]
    assert torch.equal(found.pop("carry")["h"], torch.ones(2, 3)) and found == {k: v for k, v in context.items() if k != "carry"}


def test_numpy_s_numbers_become_python_s(tmp_path):
    write_replay(tmp_path / "r.pt", {}, {"loss": np.float64(0.5)}, {})
    assert type(read_replay(tmp_path / "r.pt")["context"]["loss"]) is float


def test_a_view_is_saved_without_what_it_looks_at(tmp_path):
    write_replay(tmp_path / "r.pt", {"inputs": torch.zeros(1_000_000)[:2]}, {}, {})
    assert (tmp_path / "r.pt").stat().st_size < 10_000


def test_what_is_no_plain_data_is_named_and_nothing_is_written(tmp_path):
    with pytest.raises(TypeError, match=r"context\.draws\[1\] is a object"):
        write_replay(tmp_path / "r.pt", {}, {"draws": [1, object()]}, {})
    assert list(tmp_path.iterdir()) == []


class Evil:
    def __reduce__(self):
        return (print, ("executed",))


def test_a_file_that_is_no_replay_is_refused_and_not_executed(tmp_path, capsys):
    (tmp_path / "text.pt").write_text("hello")
    (tmp_path / "evil.pt").write_bytes(pickle.dumps(Evil()))
    torch.save({"model": torch.zeros(1)}, tmp_path / "other.pt")
    torch.save(Evil(), tmp_path / "evil2.pt")
    for name in ("absent.pt", "text.pt", "evil.pt", "evil2.pt", "other.pt"):
        with pytest.raises(UserError, match=name):
            read_replay(tmp_path / name)
    assert capsys.readouterr().out == ""
