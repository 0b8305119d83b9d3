"""Ranges: their bounds, spread and grids by hand; malformed ones told."""

from __future__ import annotations

import random
import statistics

import pytest

from components.errors import UserError
from components.spec.space import Range, parse_space


def test_the_tree_is_flattened_in_its_order():
    tree = {
        "optimizer": {"lr": {"log_uniform": [1e-4, 1e-1]}, "weight_decay": None},
        "seed": {"choice": [0, 1]},
        "model": {"options": {"width": {"integer": [2, 8]}}},
    }
    assert parse_space(tree) == {
        "optimizer.lr": Range("log_uniform", (1e-4, 1e-1)),
        "seed": Range("choice", (0, 1)),
        "model.options.width": Range("integer", (2, 8)),
    }


@pytest.mark.parametrize(
    ("span", "points", "expected"),
    [
        (Range("uniform", (0.0, 1.0)), 3, [0.0, 0.5, 1.0]),
        (Range("log_uniform", (1e-4, 1e-2)), 3, [1e-4, 1e-3, 1e-2]),
        (Range("integer", (1, 3)), 5, [1, 2, 3]),  # 1, 1.5, 2, 2.5, 3 rounded to even
        (Range("log_integer", (1, 100)), 3, [1, 10, 100]),
        (Range("choice", ("a", "b")), 5, ["a", "b"]),
        (Range("uniform", (2.0, 4.0)), 1, [3.0]),
    ],
)
def test_grids(span, points, expected):
    assert span.grid(points) == pytest.approx(expected) if expected[0] != "a" else span.grid(points) == expected


@pytest.mark.parametrize(
    "span", [Range("uniform", (-2.0, 3.0)), Range("log_uniform", (1e-5, 1.0)), Range("integer", (3, 90)), Range("log_integer", (2, 512))]
)
def test_positions_are_the_inverse_of_values_and_draws_stay_inside(span):
    generator = random.Random(0)
    drawn = [span.draw(generator) for _ in range(500)]
    low, high = span.values
    assert low <= min(drawn) and max(drawn) <= high
    for value in drawn[:50]:
        assert span.at(span.position(value)) == pytest.approx(value)
    # Evenly spread in its own scale: the mean of 500 uniform positions is 0.5 +- 3 standard errors of 0.29 / sqrt(500).
    assert abs(statistics.fmean(span.position(v) for v in drawn) - 0.5) < 0.04


def test_choices_are_drawn_alike():
    generator = random.Random(0)
    span = Range("choice", ("a", "b", "c"))
    counts = [sum(span.draw(generator) == v for _ in range(900)) for v in span.values]
    assert min(counts) > 240  # 300 expected, deviation 14
    assert [span.position(v) for v in span.values] == [0.0, 0.5, 1.0] and span.at(0.99) == "c"


@pytest.mark.parametrize(
    ("tree", "told"),
    [
        ([], "tune.space must be a mapping"),
        ({"optimizer": {"lr": 0.1}}, "tune.space.optimizer.lr is no range"),
        ({"optimizer": {"lr": {"loguniform": [1, 2]}}}, "did you mean 'log_uniform'?"),
        ({"seed": {"choice": [1], "integer": [1, 2]}}, "several ranges at once"),
        ({"seed": {"choice": []}}, "tune.space.seed is an empty range"),
        ({"seed": {"choice": [1, 1]}}, "names a choice twice"),
        ({"seed": {"integer": [5, 5]}}, "is an empty range"),
        ({"seed": {"integer": [5, 2]}}, "is an empty range"),
        ({"seed": {"integer": [1.5, 2]}}, "two whole numbers"),
        ({"seed": {"uniform": [0, 1, 2]}}, "needs a low and a high bound"),
        ({"seed": {"uniform": [0, float("inf")]}}, "needs a low and a high bound"),
        ({"seed": {"log_uniform": [0, 1]}}, "no logarithm"),
    ],
)
def test_malformed_ranges_are_told(tree, told):
    with pytest.raises(UserError, match=told.replace("?", r"\?")):
        parse_space(tree)
