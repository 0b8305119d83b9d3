"""Dropout: the rate by counting every value that 16 bits can take, independence by statistics, and a mask that follows the sample."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from components.data.draws import Draws
from components.errors import UserError
from components.layers.dropout import Dropout, hand_draws, stochastic_layers

IDS = torch.arange(64)


def handed(p: float, ids: Tensor = IDS, seed: int = 0, epoch: int = 0, name: str = "dropout") -> Dropout:
    layer = Dropout(p)
    hand_draws([(name, layer)], Draws(seed, epoch, ids))
    return layer


def mask(layer: Dropout, *shape: int) -> Tensor:
    """What is kept of `shape`, as booleans."""
    return layer(torch.ones(shape)) != 0


class EveryValue:
    """Draws of one sample whose words hold each 16-bit value once: what happens to all of them is what happens on average."""

    def keys(self, names: list[str]) -> Tensor:
        return torch.zeros(len(names), 1, dtype=torch.int64)

    @staticmethod
    def words(keys: Tensor, count: int) -> Tensor:
        return torch.arange(count * 4).to(torch.int16).view(torch.int64)[None]


@pytest.mark.parametrize(("p", "dropped"), [(0.5, 32768), (0.1, 6554), (0.25, 16384), (0.3, 19661), (2**-16, 1), (1 - 2**-16, 65535)])
def test_of_all_values_of_16_bits_the_nearest_number_drops_and_the_mean_is_exactly_kept(p, dropped):
    layer = Dropout(p)
    hand_draws([("", layer)], EveryValue())
    out = layer(torch.ones(1, 65536, dtype=torch.float64))
    assert (out == 0).sum() == dropped
    assert out.unique().tolist() == pytest.approx([0, 65536 / (65536 - dropped)], abs=1e-15)
    assert out.mean().item() == pytest.approx(1.0, abs=1e-12)  # E[h'] = h, to the last figure, though 0.1 * 65536 is no integer


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_the_rate_is_p(p):
    dropped = ~mask(handed(p), 64, 32, 50)
    assert stats.binomtest(int(dropped.sum()), dropped.numel(), p).pvalue > 1e-3
    # No sample and no place has a rate of its own: the counts of both spread as binomial ones do.
    for counts, trials in ((dropped.sum((1, 2)), 32 * 50), (dropped.sum(0).flatten(), 64)):
        chi_square = ((counts - trials * p) ** 2 / (trials * p * (1 - p))).sum().item()
        assert 1e-3 < stats.chi2.cdf(chi_square, counts.numel()) < 1 - 1e-3


def test_fates_are_independent():
    kept = mask(handed(0.5), 64, 2000)
    others = {
        "the next element": (kept[:, :-1], kept[:, 1:]),
        "the next word": (kept[:, :-4], kept[:, 4:]),
        "the next sample": (kept[:-1], kept[1:]),
        "another layer": (kept, mask(handed(0.5, name="other"), 64, 2000)),
        "another epoch": (kept, mask(handed(0.5, epoch=1), 64, 2000)),
        "another seed": (kept, mask(handed(0.5, seed=1), 64, 2000)),
    }
    for name, (a, b) in others.items():
        table = [[int((x & y).sum()) for y in (b, ~b)] for x in (a, ~a)]
        assert stats.chi2_contingency(table).pvalue > 1e-3, name


def test_a_batch_is_the_same_as_its_halves_and_as_its_rows_in_another_order():
    inputs, order = torch.randn(64, 3, 7), torch.randperm(64, generator=torch.Generator().manual_seed(1))
    whole = handed(0.4)(inputs)
    halves = [handed(0.4, IDS[rank::2])(inputs[rank::2]) for rank in (0, 1)]
    assert torch.equal(halves[0], whole[0::2]) and torch.equal(halves[1], whole[1::2])
    assert torch.equal(handed(0.4, IDS[order])(inputs[order]), whole[order])


def test_the_same_draws_give_the_same_mask_and_torch_s_generator_is_left_alone():
    before = torch.get_rng_state()
    assert torch.equal(mask(handed(0.5), 64, 9), mask(handed(0.5), 64, 9))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("shape", [(64,), (64, 1), (64, 3), (64, 5, 7), (64, 2, 3, 4), (64, 0)])
def test_any_shape_where_axis_0_is_the_sample(shape):
    out = handed(0.5)(torch.ones(shape))
    assert out.shape == shape
    assert set(out.flatten().tolist()) <= {0.0, 2.0}
    # The first element of a sample has the same fate whatever follows it.
    assert shape[-1] == 0 or torch.equal(out.reshape(64, -1)[:, 0], handed(0.5)(torch.ones(64)))


def test_memory_format_changes_nothing():
    inputs = torch.randn(64, 3, 4, 5)
    assert torch.equal(handed(0.5)(inputs.to(memory_format=torch.channels_last)), handed(0.5)(inputs))


def test_the_gradient_is_the_mask_over_the_probability_of_keeping():
    layer, inputs = handed(0.25), torch.randn(64, 11, requires_grad=True)
    layer(inputs).sum().backward()
    assert torch.equal(inputs.grad, mask(layer, 64, 11) / 0.75)


def test_the_gradient_is_the_numerical_one():
    layer = handed(0.3, IDS[:3])
    assert torch.autograd.gradcheck(layer, torch.randn(3, 5, dtype=torch.float64, requires_grad=True))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_precision_is_kept_and_the_factor_is_rounded_once(dtype):
    inputs = torch.linspace(1, 2, 64 * 9).reshape(64, 9).to(dtype)
    out, kept = handed(0.1)(inputs), mask(handed(0.1), 64, 9)
    assert out.dtype == dtype
    torch.testing.assert_close(out, (inputs.double() * kept * (65536 / (65536 - 6554))).to(dtype), rtol=0 if dtype.itemsize == 2 else 1e-6, atol=0)


def test_a_dropped_nan_stays_visible():
    assert handed(1 - 2**-16)(torch.full((64, 4), float("nan"))).isnan().all()


@pytest.mark.parametrize("p", [0.0, 0.5, 1e-6])
def test_evaluation_and_no_probability_are_the_identity_and_need_no_draws(p):
    layer, inputs = Dropout(p), torch.randn(3, 4)
    if p == 0.5:
        layer.eval()
    assert layer(inputs) is inputs


def test_training_without_draws_is_refused():
    with pytest.raises(UserError, match="no draws"):
        Dropout(0.5)(torch.ones(3, 4))
    with pytest.raises(UserError, match="64 samples for inputs of 3"):
        handed(0.5)(torch.ones(3, 4))


@pytest.mark.parametrize("p", [-0.1, 1.0, 1.5, float("nan")])
def test_a_probability_out_of_range_is_refused(p):
    with pytest.raises(ValueError, match="p must lie"):
        Dropout(p)


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), Dropout(0.5), nn.Sequential(Dropout(0.0), nn.Linear(8, 8), Dropout(0.25)), nn.Linear(8, 2))


def test_layers_are_found_by_their_path_and_draw_a_stream_each():
    network = model()
    layers = stochastic_layers(network)
    assert layers == [("1", network[1]), ("2.2", network[2][2])]  # the one that never drops needs nothing
    draws = Draws(5, 2, IDS)
    hand_draws(layers, draws)
    assert torch.equal(network[2][2].keys, draws.keys(["2.2"])[0])
    assert not torch.equal(network[1].keys, network[2][2].keys)
    assert stochastic_layers(nn.Linear(2, 2)) == []
    hand_draws([], None)  # asks nothing of the draws: a model without such layers pays nothing


def test_keys_are_no_state():
    network = model()
    names = list(network.state_dict())
    hand_draws(stochastic_layers(network), Draws(0, 0, IDS))
    assert list(network.state_dict()) == names and list(network.buffers()) == []
    assert torch.equal(copy.deepcopy(network)(torch.ones(64, 6)), network(torch.ones(64, 6)))


def test_shapes_on_meta():
    layer = handed(0.5, torch.arange(6, device="meta"))
    assert layer(torch.empty(6, 3, 5, device="meta")).shape == (6, 3, 5)


def test_under_autocast_the_mask_is_the_same():
    network, inputs = model(), torch.randn(64, 6)
    hand_draws(stochastic_layers(network), Draws(0, 0, IDS))
    hidden = network[0](inputs)
    with torch.autocast("cpu", torch.bfloat16):
        assert network(inputs).dtype == torch.bfloat16
        half = network[1](network[0](inputs))
    assert half.dtype == torch.bfloat16
    assert torch.equal(half == 0, network[1](hidden) == 0)


def test_compiled_it_is_the_same_and_a_new_step_compiles_nothing():
    network = model()
    # What is asked is of the graph that is captured: half a minute of C++ would answer nothing more.
    layers, compiled = stochastic_layers(network), torch.compile(network, fullgraph=True, backend="aot_eager")
    with torch._dynamo.config.patch(error_on_recompile=True):
        for epoch, first in itertools.product(range(2), (0, 64)):
            inputs = torch.randn(64, 6)
            hand_draws(layers, Draws(0, epoch, IDS + first))
            torch.testing.assert_close(compiled(inputs), network(inputs))
