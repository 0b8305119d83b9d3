"""Generated curves: their noise is what they say it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import distributions

from components.data.sources.curves import bimodal, heteroscedastic, read_curves
from components.errors import UserError

TRUTH = {"bimodal": bimodal, "heteroscedastic": heteroscedastic}


def rows(kind, seed=0):
    return read_curves(Path(), kind, 4000, 50, 50, seed).splits["train"]


@pytest.mark.parametrize("kind", list(TRUTH))
def test_the_stated_truth_is_torchs_density_and_fits_the_rows(kind):
    split = rows(kind)
    weights, locations, scales = (torch.from_numpy(part) for part in TRUTH[kind](split["inputs"][:, 0].astype(np.float64)))
    density = distributions.MixtureSameFamily(distributions.Categorical(weights), distributions.Laplace(locations, scales))
    targets = torch.from_numpy(split["targets"]).double()
    np.testing.assert_allclose(split["true_nll"], -density.log_prob(targets), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(split["deviation"], density.variance.sqrt(), rtol=1e-5)
    levels = density.cdf(targets).sort().values.numpy()
    assert np.abs(levels - (np.arange(4000) + 0.5) / 4000).max() < 1.63 / np.sqrt(4000)  # Kolmogorov and Smirnov, 1 %


def test_seeds_and_splits_differ_and_the_same_seed_does_not():
    data = read_curves(Path(), "bimodal", 50, 50, 50, seed=3)
    inputs = [split["inputs"].tobytes() for split in data.splits.values()]
    assert len(set(inputs)) == 3
    again = read_curves(Path(), "bimodal", 50, 50, 50, seed=3)
    assert all(again.splits[name]["targets"].tobytes() == split["targets"].tobytes() for name, split in data.splits.items())
    with pytest.raises(UserError, match="kind"):
        read_curves(Path(), "trimodal", 1, 1, 1, 0)
