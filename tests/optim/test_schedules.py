"""Schedules against their closed forms."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import pytest
import torch

from components.errors import UserError
from components.optim.schedules import constant, cosine, step_decay


def test_constant_is_one():
    assert [constant(step, 10) for step in range(10)] == [1.0] * 10


def test_cosine_starts_at_one_is_a_half_in_the_middle_and_ends_at_its_final_factor():
    assert cosine(0, 100) == 1.0
    assert cosine(50, 100) == pytest.approx(0.5, abs=1e-15)
    assert cosine(100, 100) == pytest.approx(0.0, abs=1e-15)
    assert cosine(99, 100) == pytest.approx((1 - math.cos(math.pi / 100)) / 2, rel=1e-12)  # the last step of a run; cos(pi - x) = -cos x
    assert cosine(50, 100, final_factor=0.2) == pytest.approx(0.6, abs=1e-15)
    assert cosine(100, 100, final_factor=0.2) == pytest.approx(0.2, abs=1e-15)
    assert cosine(130, 100, final_factor=0.2) == cosine(100, 100, final_factor=0.2)


def test_warm_up_is_linear_from_one_part_in_n_and_meets_the_cosine_at_one():
    factors = [cosine(step, 100, warmup_fraction=0.1) for step in range(100)]
    assert factors[:10] == pytest.approx([n / 10 for n in range(1, 11)])
    assert factors[10] == 1.0
    assert factors[55] == pytest.approx(0.5)  # the middle of the 90 steps that are left
    assert all(a > b for a, b in itertools.pairwise(factors[10:]))


def test_a_run_may_be_all_warm_up_or_one_step_long():
    assert [cosine(step, 4, warmup_fraction=1.0) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert cosine(0, 1) == 1.0 and cosine(0, 1, warmup_fraction=0.1) == 1.0


def test_cosine_is_torch_s():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=37, eta_min=0.05)
    for step in range(37):
        assert cosine(step, 37, final_factor=0.05) == pytest.approx(reference.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        reference.step()


@pytest.mark.parametrize("total", [3, 9, 30, 90, 99, 3000, 300_000])
def test_step_decay_falls_at_exact_multiples_and_nowhere_else(total):
    third = total // 3
    for k in range(3):
        assert step_decay(k * third, total) == pytest.approx(0.1**k)
        assert step_decay((k + 1) * third - 1, total) == pytest.approx(0.1**k)


def test_step_decay_by_the_configured_fraction_decays_twice_in_any_run():
    """conf/schedule/step.yaml writes the third in digits; the last step of a long run must still be in the third period."""
    fraction = 0.3333333333
    for total in (90, 9_999, 3_000_000):
        assert step_decay(total - 1, total, fraction, 0.1) == pytest.approx(0.01)
        assert step_decay(math.ceil(total / 3), total, fraction, 0.1) == pytest.approx(0.1)


def test_step_decay_takes_its_factor_and_period():
    total, period = 100, Fraction(1, 4)
    found = [step_decay(step, total, float(period), 0.5) for step in range(total)]
    assert found == [0.5 ** (step // 25) for step in range(total)]


@pytest.mark.parametrize("fraction", [-0.1, 1.1])
def test_a_warm_up_that_is_no_fraction_is_refused(fraction):
    with pytest.raises(UserError, match=r"schedule\.warmup_fraction"):
        cosine(0, 10, warmup_fraction=fraction)


@pytest.mark.parametrize("fraction", [0.0, -1.0])
def test_a_period_of_nothing_is_refused(fraction):
    with pytest.raises(UserError, match=r"schedule\.every_fraction"):
        step_decay(0, 10, every_fraction=fraction)
