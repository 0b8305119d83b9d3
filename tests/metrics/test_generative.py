"""The Frechet distance against scipy and the closed form, and that generative scores are equal to the bit on any number of ranks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import torch

from components.errors import RunError
from components.metrics.frechet import frechet_distance, gaussian_frechet_distance
from components.metrics.generative import Adversarial, Variational


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def published(first: np.ndarray, second: np.ndarray) -> float:
    """The formula as in the authors' code, with a general matrix root."""
    one, two = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    root = scipy.linalg.sqrtm(one @ two)
    return float(((first.mean(0) - second.mean(0)) ** 2).sum() + np.trace(one + two - 2 * np.real(root)))


def test_it_is_the_published_formula():
    first, second = draw(60, 7), draw(50, 7, seed=1) @ draw(7, 7, seed=2) + 1.0
    assert frechet_distance(first, second) == pytest.approx(published(first.numpy(), second.numpy()), rel=1e-9)
    assert frechet_distance(second, first) == pytest.approx(frechet_distance(first, second), rel=1e-9)


def test_equal_sets_are_at_distance_zero_even_where_the_covariance_is_singular():
    full, flat = draw(40, 6), draw(5, 6)  # five points span four of six dimensions
    for features in (full, flat, torch.cat([full, torch.zeros(40, 2)], dim=1)):
        assert frechet_distance(features, features.flip(0)) == pytest.approx(0.0, abs=1e-6)


def test_gaussians_have_a_closed_form():
    """T51. Where covariances commute it is |m1 - m2|^2 + |S1^1/2 - S2^1/2|^2."""
    eye = torch.eye(3, dtype=torch.float64)
    mean = torch.tensor([3.0, 0.0, 4.0], dtype=torch.float64)
    assert gaussian_frechet_distance(mean, eye, 0 * mean, eye) == pytest.approx(25.0)
    assert gaussian_frechet_distance(mean, 4 * eye, mean, 9 * eye) == pytest.approx(3.0)
    spread, other = (torch.diag(torch.tensor(v, dtype=torch.float64)) for v in ([1.0, 4.0, 0.0], [9.0, 1.0, 2.0]))
    assert gaussian_frechet_distance(mean, spread, mean, other) == pytest.approx(4.0 + 1.0 + 2.0)


def test_it_grows_under_corruption():
    """T51."""
    clean = draw(500, 4)
    found = [frechet_distance(clean, clean + level * draw(500, 4, seed=1)) for level in (0.0, 0.5, 1.0, 2.0)]
    assert found == sorted(found) and found[1] > found[0] + 0.01


def test_one_sample_has_no_covariance():
    with pytest.raises(ValueError, match="two samples"):
        frechet_distance(draw(1, 3), draw(5, 3))


def adversarial_outputs(ids: torch.Tensor) -> dict[str, torch.Tensor]:
    names = {"real_scores": (), "fake_scores": (), "discriminator_losses": (), "generator_losses": (), "real_features": (5,), "fake_features": (5,)}
    return {name: draw(37, *shape, seed=i).float()[ids] for i, (name, shape) in enumerate(names.items())}


def variational_outputs(ids: torch.Tensor) -> dict[str, torch.Tensor]:
    names = {"reconstruction": (), "divergence": (), "importance_bound": (), "means": (3,)}
    return {name: draw(37, *shape, seed=i).float()[ids] for i, (name, shape) in enumerate(names.items())}


@pytest.mark.parametrize(
    ("make", "outputs"), [(lambda: Adversarial(5), adversarial_outputs), (lambda: Variational(3), variational_outputs)], ids=["gan", "vae"]
)
def test_equal_to_the_bit_however_batches_are_dealt(make, outputs):
    found = []
    for world in (1, 2, 3, 9):
        ranks = [make() for _ in range(world)]
        for i, ids in enumerate(torch.arange(37).split(5)):
            ranks[i % world].update(outputs(ids), {"sample_id": ids})
        found.append(make().compute([rank.state() for rank in ranks]))
    assert found[0]["samples"] == 37
    assert all(other == found[0] for other in found)


def test_what_the_discriminator_gets_right():
    metric = Adversarial(0)
    outputs = {
        "real_scores": torch.tensor([2.0, -1.0, 0.5, 0.1]),
        "fake_scores": torch.tensor([-2.0, -1.0, -0.5, 0.1]),
        "discriminator_losses": torch.tensor([1.0, 2.0, 3.0, 4.0]),
        "generator_losses": torch.tensor([0.0, 0.0, 0.0, 2.0]),
    }
    metric.update(outputs, {"sample_id": torch.arange(4)})
    found = metric.compute([metric.state()])
    assert found == {
        "discriminator_accuracy": 0.75,
        "discriminator_accuracy_real": 0.75,
        "discriminator_accuracy_fake": 0.75,
        "discriminator_loss": 2.5,
        "generator_loss": 0.5,
        "samples": 4,
    }


def test_the_bound_and_the_units_that_say_something():
    metric = Variational(2)
    outputs = {
        "reconstruction": torch.tensor([90.0, 110.0]),
        "divergence": torch.tensor([10.0, 20.0]),
        "importance_bound": torch.tensor([-98.0, -126.0]),
        "means": torch.tensor([[1.0, 0.05], [-1.0, -0.05]]),  # variances 1 and 0.0025
    }
    metric.update(outputs, {"sample_id": torch.arange(2)})
    found = metric.compute([metric.state()])
    assert (found["elbo"], found["loss"], found["kl"], found["importance_bound"], found["active_units"]) == (-115.0, 115.0, 15.0, -112.0, 1)


def test_a_value_that_is_no_number_is_told_with_its_sample():
    metric = Variational(2)
    outputs = {"reconstruction": torch.ones(2), "divergence": torch.ones(2), "importance_bound": torch.ones(2), "means": torch.ones(2, 2)}
    outputs["means"][1, 0] = math.nan
    metric.update(outputs, {"sample_id": torch.tensor([4, 7])})
    with pytest.raises(RunError, match="means that is no number for 1 samples, first sample_id 7"):
        metric.compute([metric.state()])
