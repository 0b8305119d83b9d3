"""The paired bootstrap against scipy's, against the normal limit, and against what must always hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import bootstrap

from components.gate.bootstrap import bootstrap_interval


def test_it_agrees_with_scipy():
    values = np.random.default_rng(0).gamma(2.0, size=300)
    theirs = bootstrap((values,), np.mean, n_resamples=20_000, confidence_level=0.9, method="percentile", rng=1).confidence_interval
    ours = bootstrap_interval(values, 20_000, 0.9, seed=2)
    assert ours.mean == pytest.approx(values.mean())
    assert (ours.lower, ours.upper) == pytest.approx((theirs.low, theirs.high), abs=0.01)  # a twenty-fifth of the interval's length


def test_differences_of_accuracies_are_counted_to_the_same_interval():
    """-1, 0 and 1 are drawn as three counts; a grain of noise forces the way by indices, and the interval must be the same."""
    values = np.repeat([-1.0, 0.0, 1.0], [20, 950, 30])
    counted = bootstrap_interval(values, 20_000, 0.95, seed=0)
    drawn = bootstrap_interval(values + np.random.default_rng(1).normal(scale=1e-9, size=1000), 20_000, 0.95, seed=0)
    assert (counted.lower, counted.upper) == pytest.approx((drawn.lower, drawn.upper), abs=1.1e-3)
    error = math.sqrt(values.var() / 1000)  # of the mean: the normal limit, 0.01 +- 1.96 x 0.00704
    assert (counted.lower, counted.upper) == pytest.approx((0.01 - 1.96 * error, 0.01 + 1.96 * error), abs=1.1e-3)


def test_it_covers_the_truth_as_often_as_it_says():
    draws = np.random.default_rng(3)
    found = [bootstrap_interval(draws.normal(size=200), 500, 0.9, seed=i) for i in range(400)]
    assert sum(f.lower <= 0 <= f.upper for f in found) / 400 == pytest.approx(0.9, abs=0.045)  # three standard errors


def test_equal_values_leave_no_doubt_and_none_are_refused():
    assert bootstrap_interval(np.full(7, 0.25), 100, 0.95, 0) == bootstrap_interval(np.full(7, 0.25), 100, 0.95, 9)
    assert bootstrap_interval(np.full(7, 0.25), 100, 0.95, 0).lower == 0.25
    with pytest.raises(ValueError, match="no values"):
        bootstrap_interval(np.empty(0), 100, 0.95, 0)
