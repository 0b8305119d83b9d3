"""Distances held against values by hand and against scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from components.drift.measures import counts_psi, histogram, holm, ks, mmd, psi, psi_p_value, quantile_edges


def test_psi_by_hand():
    """Shares (3.5, 1.5) / 5 and (1.5, 3.5) / 5: (0.3 - 0.7) ln(3/7) twice."""
    value = psi(np.array([3.0, 1.0]), np.array([1.0, 3.0]))
    assert value == pytest.approx(2 * 0.4 * math.log(7 / 3), abs=1e-12)
    assert psi(np.array([5.0, 5.0]), np.array([5.0, 5.0])) == 0.0
    assert math.isfinite(psi(np.array([10.0, 0.0]), np.array([0.0, 10.0])))


def test_psi_p_value_is_chi_squared_and_holds_under_chance():
    assert psi_p_value(0.2, 100, 50, 10) == pytest.approx(stats.chi2.sf(0.2 * 100 * 50 / 150, 9), rel=1e-10)
    generator = np.random.default_rng(0)
    rejected = 0
    for _ in range(400):
        before, now = (generator.multinomial(500, [0.1] * 10).astype(float) for _ in range(2))
        rejected += psi_p_value(psi(before, now), 500, 500, 10) <= 0.05
    assert stats.binomtest(rejected, 400, 0.05).pvalue > 1e-3, rejected


def test_bins_hold_equal_parts_and_a_frequent_value_has_its_own():
    values = np.arange(100.0)
    assert histogram(values, quantile_edges(values, 10))[:-1].tolist() == pytest.approx([10] * 10, abs=1)
    sparse = np.concatenate([np.zeros(80), np.arange(1.0, 21)])
    assert histogram(sparse, quantile_edges(sparse, 10)).tolist() == [0, 80, 9, 11, 0]  # below, zero, up to the ninth decile, above, NaN
    assert histogram(np.array([-1.0, 4, 4, 5]), quantile_edges(np.full(50, 4.0), 10)).tolist() == [1, 2, 1, 0]
    assert histogram(np.array([-1.0, 0.0, 2.0, np.nan]), np.array([0.0])).tolist() == [1, 2, 1]


@pytest.mark.parametrize(("n", "m", "moved"), [(5, 5, 0.0), (1, 9, 2.0), (40, 60, 0.3), (300, 211, 0.25), (200, 200, 0.0), (4000, 3000, 0.2)])
def test_ks_is_scipys(n, m, moved):
    generator = np.random.default_rng(n)
    first, second = generator.normal(size=n), generator.normal(moved, size=m)
    expected = stats.ks_2samp(first, second, method="exact")
    statistic, p_value = ks(first, second)
    assert statistic == pytest.approx(expected.statistic, abs=1e-15) and p_value == pytest.approx(expected.pvalue, rel=1e-6)


def test_ks_with_ties_and_without_values():
    first, second = np.array([1.0, 1, 2, 3]), np.array([1.0, 2, 2, 2, 5])
    assert ks(first, second)[0] == pytest.approx(stats.ks_2samp(first, second).statistic)
    assert ks(np.full(9, np.nan), np.arange(3.0)) == (1.0, 0.0) and ks(np.zeros(0), np.zeros(0)) == (0.0, 1.0)


def test_mmd_by_hand():
    """x = 0, 1 and y = 3, 4: squared distances 1, 9, 16, 4, 9, 1, median 6.5."""
    k = {d: math.exp(-d / 13.0) for d in (1, 4, 9, 16)}
    wanted = 2 * k[1] / 2 + 2 * k[1] / 2 - 2 * (k[9] + k[16] + k[4] + k[9]) / 4
    value, p_value = mmd(np.array([[0.0], [1.0]]), np.array([[3.0], [4.0]]), 300, 0)
    assert value == pytest.approx(wanted, abs=1e-12)
    assert p_value == pytest.approx(1 / 3, abs=0.08)  # of the 6 ways to choose two of four, this one and its mirror image are the farthest


def test_mmd_holds_its_level_and_sees_what_means_do_not_show():
    generator = np.random.default_rng(0)
    p_values = [mmd(*generator.normal(size=(2, 40, 3)), 99, seed)[1] for seed in range(60)]
    assert stats.binomtest(sum(p <= 0.1 for p in p_values), 60, 0.1).pvalue > 1e-3
    corners = np.sign(generator.normal(size=(200, 1)))  # mean 0 and variance 1 as well
    value, p_value = mmd(generator.normal(size=(200, 1)), corners, 199, 0)
    assert p_value == 1 / 200 and value > 0.01


def test_counts_that_go_together_are_permuted_together():
    """Rows of 100 equal tokens: chi-squared would take 50 rows for 5,000 and be sure of what is chance."""
    generator = np.random.default_rng(0)
    tables = [np.eye(2)[generator.integers(0, 2, 50)] * 100 for _ in range(2)]
    value, p_value = counts_psi(*tables, 500, 0)
    assert psi_p_value(value, 5000, 5000, 2) < 1e-3 < 0.05 < p_value
    assert counts_psi(np.eye(2)[[0] * 50] * 3, np.eye(2)[[1] * 50] * 3, 500, 0)[1] == 1 / 501


def test_holm_by_hand():
    """Holm 1979: 0.01 x 4, 0.03 x 3 = 0.09, then 0.04 x 2 = 0.08, which must not be below it, then 0.2."""
    assert holm([0.04, 0.01, 0.2, 0.03]) == pytest.approx([0.09, 0.04, 0.2, 0.09])
    assert holm([]) == [] and holm([0.7, 0.6]) == [1.0, 1.0]
