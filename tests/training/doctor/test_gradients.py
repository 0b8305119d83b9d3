"""D18, D20: gradients reach every parameter and are right."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from components.training.doctor.finding import Skipped
from components.training.doctor.gradients import _slopes, frozen_parameters, gradient_check
from tests.training.doctor.conftest import SOUND, mlp, system
from tests.training.systems import almost_frozen, dropout, gan, normalised, recurrent


@pytest.mark.parametrize("build", [SOUND, dropout, normalised, recurrent])
def test_sound_systems_pass_both(patient, build):
    assert frozen_parameters(patient(build)).status == "ok"
    assert gradient_check(patient(build)).status == "ok"


class Branch(nn.Module):
    """A layer beside the trunk, whose output `use` may drop, detach or multiply."""

    def __init__(self, use) -> None:
        super().__init__()
        self.trunk, self.side, self.use = mlp(), nn.Linear(64, 3), use

    def forward(self, inputs):
        return self.trunk(inputs) + self.use(self.side, inputs.flatten(1))


@pytest.mark.parametrize(
    ("use", "status", "found"),
    [
        (lambda side, x: side(x), "ok", "6 parameters"),
        (lambda side, x: 0.0, "fail", "no gradient at all: side.weight, side.bias"),
        (lambda side, x: side(x).detach(), "fail", "no gradient at all: side.weight, side.bias"),
        (lambda side, x: 0.0 * side(x), "fail", "a gradient of zero: side.weight, side.bias; never moved: side.weight, side.bias"),
    ],
)
def test_a_layer_that_learns_nothing_is_named(patient, use, status, found):
    finding = frozen_parameters(patient(system(lambda: Branch(use)), "optimizer.weight_decay=0"))
    assert finding.status == status and finding.found.startswith(found)


def test_decay_moves_what_gets_no_gradient(patient):
    """So a dead layer is told though its weights move."""
    finding = frozen_parameters(patient(system(lambda: Branch(lambda side, x: 0.0 * side(x))), "optimizer.weight_decay=0.1"))
    assert finding.status == "warn" and finding.found == "a gradient of zero: side.weight, side.bias"


class Gated(nn.Module):
    """A branch behind a weight that starts at zero: its first gradient comes at the second step."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.side, self.gate = mlp(), nn.Linear(64, 3), nn.Parameter(torch.zeros(()))

    def forward(self, inputs):
        return self.trunk(inputs) + self.gate * self.side(inputs.flatten(1))


def test_a_branch_that_starts_closed_is_sound(patient):
    assert frozen_parameters(patient(system(Gated))).status == "ok"


def test_a_rate_of_zero_moves_nothing(patient):
    finding = frozen_parameters(patient(SOUND, "optimizer.lr=0"))
    assert finding.status == "fail" and finding.found == "never moved: 1.weight, 1.bias, 3.weight, 3.bias"


def test_only_what_was_meant_to_be_frozen_may_be(patient):
    asleep = frozen_parameters(patient(almost_frozen))
    assert asleep.status == "warn" and asleep.found == "frozen, but not by parameters.frozen: 1.weight, 1.bias, 3.weight"
    assert frozen_parameters(patient(almost_frozen, "parameters.frozen=['1.*','*.weight']")).status == "ok"


def test_each_player_of_two_gets_its_gradient(patient):
    finding = frozen_parameters(patient(gan))
    assert finding.found == "frozen, but not by parameters.frozen: discriminator.1.bias"  # its author froze it
    assert gradient_check(patient(gan)).status == "ok"


class _Doubles(torch.autograd.Function):
    """The identity with a backward that is twice too large."""

    @staticmethod
    def forward(ctx, inputs):
        return inputs.clone()

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient


class Doubles(nn.Module):
    def forward(self, inputs):
        return _Doubles.apply(inputs)


def test_a_wrong_backward_is_measured(patient):
    """Every gradient is twice the true one, so the relative difference is a half in each direction."""
    finding = gradient_check(patient(system(lambda: nn.Sequential(*mlp(), Doubles()))))
    assert finding.status == "fail" and finding.found == "relative difference 5.0e-01"


def test_a_detached_path_is_found(patient):
    build = system(lambda: Branch(lambda side, x: side(x).detach()))
    assert gradient_check(patient(build)).status == "fail"
    assert gradient_check(patient(system(lambda: Branch(lambda side, x: side(x))))).status == "ok"


def test_a_model_that_computes_in_single_precision_is_left_alone(patient):
    class Single(nn.Module):
        def forward(self, inputs):
            return inputs.float()

    with pytest.raises(Skipped, match=r"torch.float32"):
        gradient_check(patient(system(lambda: nn.Sequential(*mlp(), Single()))))


def test_the_difference_of_a_quadratic_is_exact_and_the_weights_come_back():
    """f(w) = w'w has no third derivative, so the symmetric difference is exact but for rounding, about eps^(2/3) = 4e-11."""
    weights = [torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64), torch.tensor([[0.5]], dtype=torch.float64)]
    before = [w.clone() for w in weights]

    def total():
        return sum((w * w).sum() for w in weights)

    for factor in (2, 3):  # the gradient is 2 w
        numeric, analytic = _slopes(total, weights, [factor * w for w in before], torch.Generator().manual_seed(0))
        assert analytic / numeric == pytest.approx(factor / 2, rel=1e-8)
    assert all(torch.allclose(a, b, rtol=0, atol=1e-14) for a, b in zip(before, weights, strict=True))


def test_a_weight_without_a_gradient_has_no_slope():
    weights = [torch.ones(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)]
    numeric, analytic = _slopes(lambda: 3 * weights[0].sum(), weights, [torch.full((1,), 3.0), None], torch.Generator().manual_seed(1))
    assert analytic == pytest.approx(numeric, rel=1e-8) and abs(analytic) <= 3.0
