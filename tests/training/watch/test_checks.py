"""Each limit from both sides, on looks made by hand."""

from __future__ import annotations

import math
from collections import defaultdict

import pytest

from components.training.watch import checks
from components.training.watch.history import LONG, WINDOW, History
from components.training.watch.look import Look


def judge(check: checks.Check, *looks: dict[str, dict[str, float]]) -> list[tuple[str, str]]:
    """What the last of some looks gives."""
    history, found = History(), []
    for plain in looks:
        look: Look = defaultdict(dict, plain)
        history.add(look)
        found = [(f.check, f.layer) for f in check(look, history)]
    return found


@pytest.mark.parametrize(
    ("check", "item", "quantity", "quiet", "loud"),
    [
        (checks.dead_units, "D21", "dead", [0.0, 0.42, 0.6], [0.61, 1.0]),
        (checks.saturated, "D22", "saturated", [0.0, 0.5], [0.51, 1.0]),
        (checks.activations, "D23", "std", [0.0051, 0.5, 2.0, 199.0, math.nan], [0.0, 0.0049, 201.0, math.inf]),
        (checks.not_finite, "D27", "not_finite", [0.0], [1.0]),
        (checks.not_finite, "D27", "bias", [0.0, 1e30], [math.nan, math.inf]),
        (checks.updates, "D24", "update_size", [1e-3, 0.99, math.nan], [1.01, math.inf]),
    ],
)
def test_one_look_is_enough(check, item, quantity, quiet, loud):
    for value in quiet:
        assert judge(check, {quantity: {"model.0": value}}) == [], value
    for value in loud:
        assert judge(check, {quantity: {"model.0": value}}) == [(item, "model.0")], value


@pytest.mark.parametrize(("mean", "std", "found"), [(9.9, 1.0, 0), (-10.1, 1.0, 1), (10.1, 1.0, 1), (300.0, 300.0, 1)])
def test_a_mean_is_named_unless_the_spread_explains_it(mean, std, found):
    assert len(judge(checks.activations, {"mean": {"model.0": mean}, "std": {"model.0": std}})) == found


@pytest.mark.parametrize(
    ("check", "item", "quantity", "bad", "good", "looks"),
    [
        (checks.updates, "D24", "update_size", 0.11, 0.09, WINDOW),
        (checks.gradient_flow, "D36", "flow", 0.9e-6, 1.1e-6, WINDOW),
        (checks.loss_terms, "D17", "loss_share", 0.9e-3, 1.1e-3, WINDOW),
        (checks.discriminator, "D37", "accuracy", 0.96, 0.94, LONG),
        (checks.discriminator, "D37", "accuracy", 0.59, 0.61, LONG),
    ],
)
def test_what_lasts_is_a_fault_and_what_passes_is_not(check, item, quantity, bad, good, looks):
    values = [{quantity: {"model.0": bad}}] * looks
    assert judge(check, *values) == [(item, "model.0")]
    assert judge(check, *values[1:]) == []
    for place in range(looks):
        assert judge(check, *values[:place], {quantity: {"model.0": good}}, *values[place + 1 :]) == []
    assert judge(check, {quantity: {"model.0": good}}, *values) == [(item, "model.0")]  # long ago


def steps(*sizes: float, gradient: float = 1.0) -> list[dict[str, dict[str, float]]]:
    return [{"update_size": {"model.w": size}, "gradient": {"model.w": gradient}} for size in sizes]


@pytest.mark.parametrize(
    ("looks", "item"),
    [
        (steps(*[0.0] * 5), "D18"),
        (steps(*[0.9e-7] * 5), "D24"),
        (steps(0.0, 0.0, 1e-9, 0.0, 0.0), "D24"),
        (steps(*[1.1e-7] * 5), None),
        (steps(*[0.0] * 4), None),
        (steps(*[0.0] * 5, gradient=0.0), None),  # no_gradient speaks of it
        (steps(1e-3, *[0.0] * 20), None),  # a rate that has decayed
    ],
)
def test_updates_that_are_lost(looks, item):
    assert judge(checks.updates, *looks) == ([] if item is None else [(item, "model.w")])


def test_no_gradient_needs_the_whole_window_and_tells_layer_from_network():
    def look(first: float, second: float) -> dict[str, dict[str, float]]:
        return {"gradient": {"model.a": first, "model.b": second, "other.a": 1.0}, "gradient_norm": {"model": 1.0, "other": 1.0}}

    assert judge(checks.no_gradient, *[look(0.0, 1.0)] * 5) == [("D18", "model.a")]
    assert judge(checks.no_gradient, *[look(0.0, 0.0)] * 5) == [("D18", "model")]
    assert judge(checks.no_gradient, look(1e-9, 1.0), *[look(0.0, 1.0)] * 4) == []


@pytest.mark.parametrize(
    ("norms", "loud"), [([1, 2, 201], True), ([1, 2, 199], False), ([1, 1000], False), ([0, 0, 5], False), ([500, 1, 1, 900], False)]
)
def test_a_jump_is_over_the_largest_before(norms, loud):
    assert bool(judge(checks.gradient_norm, *[{"gradient_norm": {"model": float(norm)}} for norm in norms])) == loud


@pytest.mark.parametrize(("start", "now", "loud"), [(0.5, 9.9, False), (0.5, 10.1, True), (3.0, 29.0, False), (3.0, 31.0, True), (0.0, 1.0, False)])
def test_growth_is_over_the_larger_of_the_start_and_a_fresh_layer(start, now, loud):
    for size, before in (("weight_size", "weight_before"), ("bias", "bias_before")):
        looks = [{size: {"model.w": value}, before: {"model.w": value}} for value in (start, now)]
        assert judge(checks.weights, *looks) == ([("D25", "model.w")] if loud else [])


@pytest.mark.parametrize(("first", "rank", "loud"), [(16.0, 1.4, True), (16.0, 1.6, False), (2.9, 1.0, False)])
def test_rank_counts_where_there_was_one(first, rank, loud):
    looks = [{"stable_rank": {"model.w": value}, "spectral": {"model.w": 1.0}} for value in (first, rank)]
    assert bool(judge(checks.singular_values, *looks)) == loud


@pytest.mark.parametrize(("first", "largest", "loud"), [(2.0, 19.0, False), (2.0, 21.0, True), (0.0, 1.0, False)])
def test_the_largest_singular_value_explodes(first, largest, loud):
    assert bool(judge(checks.singular_values, *[{"spectral": {"model.w": value}} for value in (first, largest)])) == loud


def test_only_the_first_bad_layer_and_the_first_spoilt_parameter_are_named():
    look = {"not_finite": {"a": 0.0, "b": 1.0, "c": 1.0}, "weight_size": {"w": 1.0, "v": math.nan}, "bias": {"x": math.inf}}
    assert judge(checks.not_finite, look) == [("D27", "b"), ("D27", "v")]


def test_history_keeps_the_first_the_largest_and_the_last():
    history = History()
    for value in (3.0, 9.0, *range(LONG)):
        history.add({"q": {"x": float(value)}})
    assert history.first("q", "x") == 3.0 and history.largest("q", "x") == 9.0
    assert history.before("q", "x") == [float(value) for value in range(LONG - 1)]
    assert not history.always("q", "unknown", lambda value: True)
