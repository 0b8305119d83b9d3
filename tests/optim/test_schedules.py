"""Schedules against their closed forms, the notes' formulas and torch's own; and their lengths, made into steps."""

from __future__ import annotations

import inspect
import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import yaml

from components.errors import UserError
from components.optim import schedules
from components.optim.schedules import (
    bind,
    constant,
    cosine,
    cosine_restarts,
    exponential,
    inverse_sqrt,
    inverse_time,
    linear,
    one_cycle,
    step_decay,
    triangular,
)
from components.spec.schema import Target
from flows.compose import compose, group_choices

ROOT = Path(__file__).parents[2]
CONFIGURED = group_choices(ROOT / "conf", "schedule")


def torch_factors(scheduler: type, steps: int, **options: object) -> list[float]:
    """The rates that one of torch's schedulers gives to a group with rate 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = scheduler(optimizer, **options)
    rates = []
    for _ in range(steps):
        rates.append(reference.get_last_lr()[0])
        optimizer.step()
        reference.step()
    return rates


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


def test_cosine_is_torch_s():
    reference = torch_factors(torch.optim.lr_scheduler.CosineAnnealingLR, 37, T_max=37, eta_min=0.05)
    assert [cosine(step, 37, final_factor=0.05) for step in range(37)] == pytest.approx(reference, rel=1e-9)


@pytest.mark.parametrize("schedule", [cosine, linear])
def test_warm_up_is_linear_from_one_part_in_n_and_meets_the_decay_at_one(schedule):
    factors = [schedule(step, 100, warmup=10) for step in range(100)]
    assert factors[:10] == pytest.approx([n / 10 for n in range(1, 11)])
    assert factors[10] == 1.0
    assert factors[55] == pytest.approx(0.5)  # the middle of the 90 steps that are left
    assert all(a > b for a, b in pairwise(factors[10:]))


@pytest.mark.parametrize("schedule", [cosine, linear])
def test_a_run_may_be_all_warm_up_or_shorter_than_it_or_one_step_long(schedule):
    assert [schedule(step, 4, warmup=4) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert [schedule(step, 2, warmup=4) for step in range(2)] == [0.25, 0.5]
    assert schedule(4, 4, warmup=4) == 1.0
    assert schedule(0, 1) == schedule(0, 1, warmup=1) == 1.0


def test_linear_falls_by_equal_parts_to_its_final_factor():
    assert [linear(step, 4) for step in range(6)] == [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    assert [linear(step, 4, final_factor=0.5) for step in range(5)] == [1.0, 0.875, 0.75, 0.625, 0.5]
    reference = torch_factors(torch.optim.lr_scheduler.LinearLR, 37, start_factor=1.0, end_factor=0.1, total_iters=37)
    assert [linear(step, 37, final_factor=0.1) for step in range(37)] == pytest.approx(reference, rel=1e-9)


def test_linear_with_a_hold_is_cyclegan_s():
    """Its code: 1 - max(0, epoch - 100) / 100 for 200 epochs."""
    assert [linear(step, 200, hold=100) for step in range(200)] == pytest.approx([1 - max(0, step - 100) / 100 for step in range(200)])
    assert [linear(step, 8, warmup=2, hold=2) for step in range(9)] == [0.5, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]


@pytest.mark.parametrize("every", [1, 3, 33])
def test_step_decay_is_torch_s(every):
    reference = torch_factors(torch.optim.lr_scheduler.StepLR, 100, step_size=every, gamma=0.5)
    assert [step_decay(step, 100, every, 0.5) for step in range(100)] == pytest.approx(reference, rel=1e-9)
    assert step_decay(every - 1, 100, every) == 1.0 and step_decay(every, 100, every) == 0.1


def test_step_decay_after_a_hold_is_the_residual_network_s():
    """He et al. 2016, section 4.2: divided by 10 at 32,000 and 48,000 of 64,000 steps."""
    factor = bind(Target("components.optim.schedules.step_decay", {"every": "16000st", "hold": "16000st"}), 352, 64_000)
    changes = [step for step in range(1, 64_000) if factor(step) != factor(step - 1)]
    assert changes == [32_000, 48_000] and factor(63_999) == pytest.approx(0.01)


@pytest.mark.parametrize("total", [90, 750, 1_000, 9_998, 3_000_001])
def test_step_decay_as_configured_decays_twice_in_a_run(total):
    factor = bind(compose(ROOT, ["schedule=step_decay"]).schedule, 10, total)
    assert factor(total - 1) == pytest.approx(0.01)
    assert [factor(math.floor(0.33 * total)), factor(math.ceil(0.34 * total)), factor(math.floor(0.66 * total))] == pytest.approx([1.0, 0.1, 0.1])


def test_exponential_is_torch_s_and_takes_its_time():
    reference = torch_factors(torch.optim.lr_scheduler.ExponentialLR, 20, gamma=0.9)
    assert [exponential(step, 20, 1, 0.9) for step in range(20)] == pytest.approx(reference, rel=1e-9)
    assert exponential(7, 20, 7, 0.3) == pytest.approx(0.3)
    assert exponential(5, 20, 10, 0.25) == pytest.approx(0.5)  # half the way is the square root


def test_inverse_time_is_one_over_t():
    assert [inverse_time(step, 9, 1) for step in range(5)] == [1.0, 1 / 2, 1 / 3, 1 / 4, 1 / 5]
    assert [inverse_time(step, 9, 10) for step in (0, 10, 30)] == [1.0, 0.5, 0.25]


def test_inverse_time_makes_the_step_of_a_running_mean():
    """Minimising (w - x_t)^2 / 2 with rate 1/t keeps the mean of all x so far (notes 002 T22)."""
    weight, seen = 100.0, [3.0, -1.0, 4.0, 1.5, 9.0]
    for step, x in enumerate(seen):
        weight -= inverse_time(step, len(seen), 1) * (weight - x)
    assert weight == pytest.approx(sum(seen) / len(seen))


def test_triangular_goes_up_and_down_in_equal_steps():
    expected = [0.25, 0.5, 0.75, 1.0, 0.75, 0.5] * 3  # three steps of a quarter each way
    assert [triangular(step, 18, 3) for step in range(18)] == pytest.approx(expected)


@pytest.mark.parametrize("half_cycle", [1, 4, 10])
def test_triangular_is_torch_s_and_the_notes_formula_with_its_erratum(half_cycle):
    reference = torch_factors(torch.optim.lr_scheduler.CyclicLR, 50, base_lr=0.1, max_lr=1.0, step_size_up=half_cycle, cycle_momentum=False)
    assert [triangular(step, 50, half_cycle, 0.1) for step in range(50)] == pytest.approx(reference, rel=1e-9)
    for step in range(50):
        cycle = math.floor(1 + step / (2 * half_cycle))
        x = abs(step / half_cycle - 2 * cycle + 1)
        assert triangular(step, 50, half_cycle, 0.1) == pytest.approx(0.1 + 0.9 * max(0.0, 1 - x))


@pytest.mark.parametrize(("period", "multiplier"), [(1, 1), (10, 1), (10, 2), (7, 3)])
def test_cosine_restarts_is_torch_s(period, multiplier):
    options = {"T_0": period, "T_mult": multiplier, "eta_min": 0.1}
    reference = torch_factors(torch.optim.lr_scheduler.CosineAnnealingWarmRestarts, 150, **options)
    assert [cosine_restarts(step, 150, period, multiplier, 0.1) for step in range(150)] == pytest.approx(reference, rel=1e-9)


def test_cosine_restarts_at_the_sums_of_its_periods():
    restarts = [step for step in range(151) if cosine_restarts(step, 150, 10, 2) == 1.0]
    assert restarts == [0, 10, 30, 70, 150]  # 10, 20, 40, 80
    assert cosine_restarts(20, 150, 10, 2) == pytest.approx(0.5)
    assert cosine_restarts(10**9, 10**10, 1, 1) == 1.0  # no walk through a billion periods


def test_inverse_sqrt_is_vaswani_s_divided_by_its_peak():
    width, warmup = 512, 4000
    paper = [width**-0.5 * min(t**-0.5, t * warmup**-1.5) for t in range(1, 20_001)]
    peak = max(paper)
    found = [inverse_sqrt(step, 20_000, warmup) for step in range(20_000)]
    assert found == pytest.approx([p / peak for p in paper], rel=1e-12)
    assert found.index(1.0) == warmup - 1 and max(found) == 1.0
    assert found[4 * warmup - 1] == pytest.approx(0.5)


def test_one_cycle_is_torch_s_with_three_phases():
    """torch counts an end one step earlier; both have their peak at step 30, are back at 60 and end at 100."""
    options = {"max_lr": 1.0, "total_steps": 101, "pct_start": 31 / 101, "anneal_strategy": "linear", "three_phase": True, "cycle_momentum": False}
    reference = torch_factors(torch.optim.lr_scheduler.OneCycleLR, 100, **options)
    assert [one_cycle(step, 100, 30) for step in range(100)] == pytest.approx(reference, rel=1e-9)


def test_one_cycle_at_its_corners():
    assert [one_cycle(step, 100, 40, 0.2, 0.1) for step in (0, 20, 40, 60, 80, 90, 100)] == pytest.approx([0.2, 0.6, 1.0, 0.6, 0.2, 0.15, 0.1])


@pytest.mark.parametrize(
    ("schedule", "options", "told"),
    [
        (cosine, {"warmup": -1}, r"schedule\.warmup"),
        (cosine, {"final_factor": -0.1}, r"schedule\.final_factor"),
        (linear, {"warmup": -1}, r"schedule\.warmup"),
        (linear, {"hold": -1}, r"schedule\.hold"),
        (linear, {"final_factor": -0.1}, r"schedule\.final_factor"),
        (step_decay, {"every": 0}, r"schedule\.every"),
        (step_decay, {"every": 1, "factor": -0.5}, r"schedule\.factor"),
        (exponential, {"every": 0}, r"schedule\.every"),
        (exponential, {"every": 1, "factor": -0.5}, r"schedule\.factor"),  # its root would be complex
        (inverse_time, {"every": 0}, r"schedule\.every"),
        (triangular, {"half_cycle": 0}, r"schedule\.half_cycle"),
        (triangular, {"half_cycle": 1, "base_factor": -1}, r"schedule\.base_factor"),
        (cosine_restarts, {"period": 0}, r"schedule\.period"),
        (cosine_restarts, {"period": 1, "multiplier": 0}, r"schedule\.multiplier"),
        (cosine_restarts, {"period": 1, "final_factor": -1}, r"schedule\.final_factor"),
        (inverse_sqrt, {"warmup": 0}, r"schedule\.warmup"),
        (one_cycle, {"rise": 0}, r"schedule\.rise"),
        (one_cycle, {"rise": 1, "initial_factor": -1}, r"schedule\.initial_factor"),
        (one_cycle, {"rise": 1, "final_factor": -1}, r"schedule\.final_factor"),
    ],
)
def test_what_is_out_of_range_is_refused(schedule, options, told):
    with pytest.raises(UserError, match=told + " is out of range"):
        schedule(0, 10, **options)


def test_bind_makes_steps_of_lengths_in_each_unit():
    """An epoch of 10 steps, a run of 200."""
    target = Target("components.optim.schedules.linear", {"warmup": "2ep", "hold": "0.25dur", "final_factor": 0.5})
    factor = bind(target, steps_per_epoch=10, total_steps=200)
    assert [factor(step) for step in range(200)] == [linear(step, 200, warmup=20, hold=50, final_factor=0.5) for step in range(200)]
    assert bind(Target("components.optim.schedules.step_decay", {"every": "7st"}), 10, 200)(7) == 0.1


def test_bind_makes_no_length_vanish_that_is_above_zero():
    every = bind(Target("components.optim.schedules.step_decay", {"every": "0.01dur"}), 2, 4)  # a 25th of a step
    assert [every(step) for step in range(3)] == pytest.approx([1.0, 0.1, 0.01])
    assert bind(Target("components.optim.schedules.linear", {"warmup": "0dur"}), 2, 4)(0) == 1.0


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("step_decay", {"every": "0st"}, r"schedule\.every is out of range"),
        ("step_decay", {"every": 5}, r"schedule\.every is no length of training"),
        ("cosine", {"warmup": 0.05}, r"schedule\.warmup is no length of training"),
        ("cosine", {"final_factor": -1.0}, r"schedule\.final_factor is out of range"),
    ],
)
def test_bind_refuses_before_the_first_step(name, options, told):
    with pytest.raises(UserError, match=told):
        bind(Target(f"components.optim.schedules.{name}", options), 10, 200)


@pytest.mark.parametrize("name", CONFIGURED)
def test_every_configured_schedule_has_its_peak_at_one_and_serves_the_shortest_runs(name):
    schedule = compose(ROOT, [f"schedule={name}"]).schedule
    factor = bind(schedule, 20, 800)
    factors = [factor(step) for step in range(800)]
    assert max(factors) == pytest.approx(1.0) and min(factors) > 0.0
    for steps_per_epoch, total in [(20, 4), (1, 1)]:  # debug=fast; one step
        short = bind(schedule, steps_per_epoch, total)
        assert all(0.0 < short(step) <= 1.0 for step in range(total))


def test_every_schedule_has_a_configuration_of_its_name():
    functions = {name for name, f in vars(schedules).items() if inspect.isfunction(f) and f.__module__ == schedules.__name__ and name[0] != "_"}
    assert functions - {"bind"} <= set(CONFIGURED)  # and variants of one, such as `linear_decay`, which name their function
    targets = {name: yaml.safe_load((ROOT / "conf" / "schedule" / f"{name}.yaml").read_text())["_target_"].rpartition(".")[2] for name in CONFIGURED}
    assert set(targets.values()) == functions - {"bind"} and all(targets[name] == name for name in functions - {"bind"})
