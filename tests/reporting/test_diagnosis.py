"""Curves whose pattern is known by their formula: smooth, with noise, and on both sides of each limit."""

from __future__ import annotations

import math

import numpy as np
import pytest

from components.reporting.diagnosis import MIN_EPOCHS, diagnose

EPOCHS = np.arange(40)
SEEDS = range(25)


def decay(start: float, end: float, epochs: float, n: int = 40) -> np.ndarray:
    """An exponential approach, the solution of gradient descent on a parabola."""
    return end + (start - end) * np.exp(-np.arange(n) / epochs)


def records(train, validation=None) -> list[dict[str, float]]:
    return [{"train/loss": float(t)} | ({} if validation is None else {"validation/loss": float(validation[i])}) for i, t in enumerate(train)]


def patterns(train, validation=None) -> list[str]:
    return [d.pattern for d in diagnose(records(train, validation))]


FALLING = decay(2.3, 0.05, 4.0)
CURVES = {
    "good": (FALLING, decay(2.2, 0.15, 4.0)),
    "underfit": (2.3 - 0.02 * (1 - np.exp(-EPOCHS / 3)), 2.31 - 0.02 * (1 - np.exp(-EPOCHS / 3))),
    "not converged": (2.3 - 0.04 * EPOCHS, 2.35 - 0.04 * EPOCHS),
    "overfit": (FALLING, decay(2.2, 0.3, 4.0) + 0.03 * np.maximum(0, EPOCHS - 12)),
    "unstable": (FALLING + 0.06 * np.maximum(0, EPOCHS - 20), FALLING + 0.06 * np.maximum(0, EPOCHS - 20)),
}


@pytest.mark.parametrize("pattern", CURVES)
def test_smooth_curves(pattern):
    assert patterns(*CURVES[pattern]) == [pattern]


@pytest.mark.parametrize("pattern", CURVES)
@pytest.mark.parametrize("sigma", [0.003, 0.01])
def test_noise_changes_nothing(pattern, sigma):
    for seed in SEEDS:
        noise = np.random.default_rng(seed).normal(0, sigma, (2, 40))
        assert patterns(CURVES[pattern][0] + noise[0], CURVES[pattern][1] + noise[1]) == [pattern], seed


@pytest.mark.parametrize("pattern", CURVES)
def test_the_unit_of_the_loss_does_not_matter(pattern):
    train, validation = CURVES[pattern]
    assert patterns(1000 * train, 1000 * validation) == [pattern]


def test_a_loss_below_zero_is_judged_alike():
    """The negative logarithm of a density has no floor at 0."""
    train, validation = CURVES["good"]
    assert patterns(train - 5.0, validation - 5.0) == ["good"]
    assert patterns(CURVES["overfit"][0] - 5.0, CURVES["overfit"][1] - 5.0) == ["overfit"]


def test_overfit_names_the_best_epoch_and_its_figures():
    """0.03 an epoch, from index 13 on, is more than what the decay still brings there: 1.9 (exp(-12/4) - exp(-13/4)) = 0.021."""
    found = diagnose(records(*CURVES["overfit"]))[0]
    assert found.figures["best_epoch"] == 13
    assert found.figures["validation_rise"] > found.figures["limit"] == pytest.approx(0.1 * 2.25, rel=0.01)  # gain: 2.3 - 0.05
    assert any("regularisation" in text for text in found.tries) and "epoch 13 of 40" in found.text


@pytest.mark.parametrize(("gap", "pattern"), [(0.5, "good"), (0.9, "overfit")])
def test_a_wide_gap_is_overfit_without_a_rise(gap, pattern):
    """The limit is 0.3 of the gain 2.25, so 0.675."""
    assert patterns(FALLING, FALLING + gap * (1 - np.exp(-EPOCHS / 4))) == [pattern]


@pytest.mark.parametrize(("rise", "pattern"), [(0.004, "good"), (0.012, "overfit")])
def test_a_rise_counts_from_a_tenth_of_the_gain(rise, pattern):
    """Over the last 25 epochs: 0.1 and 0.3 in all, of a gain of 2.25."""
    validation = np.maximum(FALLING, 0.1) + rise * np.maximum(0, EPOCHS - 14)
    assert patterns(FALLING, validation) == [pattern]


@pytest.mark.parametrize(("time", "pattern"), [(4.0, "good"), (20.0, "not converged")])
def test_give_it_time_until_the_last_third_brings_a_twentieth(time, pattern):
    """exp(-26/4) = 0.2 % of the gain is left for the last third, and exp(-26/20) - exp(-39/20) = 13 %."""
    curve = decay(2.3, 0.05, time)
    assert patterns(curve, curve + 0.02) == [pattern]


@pytest.mark.parametrize(("lost", "pattern"), [(0.05, "underfit"), (0.2, "good")])
def test_underfit_is_a_loss_that_never_fell(lost, pattern):
    curve = decay(1.0, 1.0 - lost, 2.0)
    assert patterns(curve, curve) == [pattern]


def test_a_slow_steady_fall_is_not_converged_rather_than_underfit():
    assert patterns(1.0 - 0.001 * EPOCHS, 1.0 - 0.001 * EPOCHS) == ["not converged"]


def test_noise_alone_is_neither_a_rise_nor_a_fall():
    for seed in SEEDS:
        noise = np.random.default_rng(seed).normal(0, 0.005, (2, 40))
        assert patterns(1.0 + noise[0], 1.0 + noise[1]) == ["underfit"]


@pytest.mark.parametrize(("sigma", "noisy"), [(0.05, False), (0.6, True)])
def test_noisy_validation(sigma, noisy):
    """The limit is 0.1 of the gain 2.25; its estimate from 20 epochs is good to about a third."""
    for seed in SEEDS:
        validation = FALLING + 0.05 + np.random.default_rng(seed).normal(0, sigma, 40)
        assert ("noisy validation" in patterns(FALLING, validation)) == noisy, seed


@pytest.mark.parametrize(("below", "easier"), [(0.03, False), (0.3, True)])
def test_validation_easier(below, easier):
    """The limit is 0.05 of the gain 2.25."""
    for seed in SEEDS:
        noise = np.random.default_rng(seed).normal(0, 0.01, (2, 40))
        assert ("validation easier" in patterns(FALLING + below + noise[0], FALLING + noise[1])) == easier


def test_a_training_loss_that_lags_half_an_epoch_is_not_easier():
    """One straight line: training's is its mean over each of 6 epochs and validation's its end, half an epoch or 1/10 of the gain below."""
    steps = np.linspace(1.0, 0.0, 6 * 50).reshape(6, 50)
    assert patterns(steps.mean(1), steps[:, -1]) == ["not converged"]


def test_noise_that_training_has_too_is_not_the_split_s():
    for seed in SEEDS:
        noise = np.random.default_rng(seed).normal(0, 0.4, (2, 40))
        assert "noisy validation" not in patterns(FALLING + noise[0], FALLING + 0.05 + noise[1]), seed


def test_noise_is_estimated_in_its_own_unit():
    """The validation's limit is far above, so its figure is the estimate itself; the larger of two estimates lies a little high."""
    estimates = []
    for seed in SEEDS:
        found = diagnose(records(FALLING, FALLING + np.random.default_rng(seed).normal(0, 1.0, 40)))
        estimates += [d.figures["noise"] for d in found if d.pattern == "noisy validation"]
    assert len(estimates) == len(SEEDS) and 1.0 < np.mean(estimates) < 1.3


@pytest.mark.parametrize("n", range(MIN_EPOCHS))
def test_a_short_run_is_not_judged(n):
    found = diagnose(records(FALLING[:n], FALLING[:n]))
    assert [d.pattern for d in found] == ["too short to judge"] and found[0].figures == {"epochs": float(n)}


@pytest.mark.parametrize("n", [6, 7, 10, 20, 300])
@pytest.mark.parametrize("pattern", ["good", "underfit", "not converged", "overfit"])
def test_long_and_short_runs_of_one_shape(n, pattern):
    places = np.linspace(0, 39, n)
    train, validation = (np.interp(places, EPOCHS, curve) for curve in CURVES[pattern])
    assert patterns(train, validation) == [pattern]


def test_without_validation_the_fit_alone_is_judged():
    assert patterns(FALLING) == ["fitted, not validated"]
    assert patterns(CURVES["not converged"][0]) == ["not converged"]
    assert patterns(CURVES["underfit"][0]) == ["underfit"]


@pytest.mark.parametrize("bad", [None, math.nan, math.inf])
def test_a_loss_that_is_no_number_comes_first(bad):
    epochs = records(FALLING, FALLING)
    epochs[7]["validation/loss"] = bad
    found = diagnose(epochs)
    assert [d.pattern for d in found] == ["not finite"] and found[0].figures == {"not_finite_losses": 1.0}


def test_other_fields_of_the_records_are_left_alone():
    epochs = [{**record, "kind": "epoch", "epoch": i, "validation/accuracy": 0.5} for i, record in enumerate(records(*CURVES["good"]))]
    assert [d.pattern for d in diagnose(epochs)] == ["good"]
