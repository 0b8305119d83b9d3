"""Regression's scores against scikit-learn, density's against scipy, and themselves on more ranks."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn import metrics as sk

from components.errors import RunError
from components.metrics.density import Density, kolmogorov_smirnov, pearson
from components.metrics.regression import Regression

GENERATOR = torch.Generator().manual_seed(1)
TARGETS = torch.randn(53, generator=GENERATOR) * 10
PREDICTIONS = TARGETS + torch.randn(53, generator=GENERATOR)
THETA = torch.tensor([3.0, -2.0], dtype=torch.float64)


def regression(world, predictions=PREDICTIONS):
    ranks = [Regression(["constant", "size"], ["price"]) for _ in range(world)]
    for i, ids in enumerate(torch.arange(53).split(8)):
        constants = {"theta": THETA.expand(len(ids), -1), "answers": torch.full((len(ids), 1), 7.5)}
        ranks[i % world].update({"predictions": predictions[ids], **constants}, {"targets": TARGETS[ids], "sample_id": ids})
    return Regression(["constant", "size"], ["price"]).compute([rank.state() for rank in ranks])


def test_errors_are_scikit_learns():
    found, pair = regression(1), (TARGETS.double(), PREDICTIONS.double())
    assert found["mse"] == pytest.approx(sk.mean_squared_error(*pair), rel=1e-12)
    assert found["rmse"] == pytest.approx(sk.root_mean_squared_error(*pair), rel=1e-12)
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(*pair), rel=1e-12)
    assert found["r2"] == pytest.approx(sk.r2_score(*pair), rel=1e-12)
    assert found["cost"] == found["mse"] / 2
    assert (found["theta_0"], found["theta_1"], found["price"], found["samples"]) == (3.0, -2.0, 7.5, 53)
    assert found["theta"] == [{"name": "constant", "value": 3.0}, {"name": "size", "value": -2.0}]


@pytest.mark.parametrize("world", [2, 3, 16])
def test_equal_to_the_bit_on_any_number_of_workers(world):
    assert regression(world) == regression(1)
    assert json.loads(json.dumps(regression(world))) == regression(world)
    assert density(world) == density(1)


def test_a_prediction_that_is_no_number_ends_the_run_and_equal_targets_have_no_r2():
    bad = PREDICTIONS.clone()
    bad[9] = float("nan")
    with pytest.raises(RunError, match="sample_id 9"):
        regression(1, bad)
    metric = Regression()
    nothing = {"theta": torch.empty(2, 0), "answers": torch.empty(2, 0)}
    metric.update({"predictions": torch.tensor([1.0, 3.0]), **nothing}, {"targets": torch.tensor([2.0, 2.0]), "sample_id": torch.arange(2)})
    found = metric.compute([metric.state()])
    assert (found["r2"], found["cost"], found["theta"]) == (0.0, 0.5, [])


def density(world):
    ranks = [Density(truth_known=True) for _ in range(world)]
    levels, deviations = torch.rand(53, generator=torch.Generator().manual_seed(2)), 1 + PREDICTIONS.abs()
    for i, ids in enumerate(torch.arange(53).split(8)):
        outputs = {"losses": PREDICTIONS[ids], "means": PREDICTIONS[ids], "deviations": deviations[ids], "levels": levels[ids]}
        truth = {"deviation": 1 + TARGETS[ids].abs(), "true_nll": PREDICTIONS[ids] - 0.25}
        ranks[i % world].update(outputs, {"targets": TARGETS[ids], "sample_id": ids, **truth})
    return Density(truth_known=True).compute([rank.state() for rank in ranks])


def test_density_scores():
    found = density(1)
    levels = torch.rand(53, generator=torch.Generator().manual_seed(2)).double()
    assert found["calibration_error"] == pytest.approx(stats.kstest(levels.numpy(), "uniform").statistic, rel=1e-12)
    assert found["coverage_50"] == int(((levels >= 0.25) & (levels <= 0.75)).sum()) / 53
    assert found["coverage_90"] == int(((levels >= 0.05) & (levels <= 0.95)).sum()) / 53
    assert found["excess_nll"] == pytest.approx(0.25, abs=1e-6)
    wanted = stats.pearsonr((1 + PREDICTIONS.abs()).double(), (1 + TARGETS.abs()).double()).statistic
    assert found["deviation_correlation"] == pytest.approx(wanted, rel=1e-6)
    assert found["rmse"] == pytest.approx(regression(1)["rmse"], rel=1e-6)


def test_a_constant_scale_has_no_correlation():
    assert pearson(torch.full((9,), 0.3, dtype=torch.float64), torch.arange(9.0, dtype=torch.float64)) == 0.0
    assert kolmogorov_smirnov((torch.arange(10, dtype=torch.float64) + 0.5) / 10) == pytest.approx(0.05)
    assert np.isfinite(pearson(torch.arange(9.0, dtype=torch.float64), torch.arange(9.0, dtype=torch.float64)))
