"""Density heads against torch.distributions, and by finite differences."""

from __future__ import annotations

import pytest
import torch
from torch import distributions
from torch.autograd import gradcheck

from components.errors import UserError
from components.losses.density import LEAST_SCALE, DensityHead, gaussian_nll, laplace_nll
from components.losses.squared_error import HalfSquaredError

GENERATOR = torch.Generator().manual_seed(0)
OUTPUTS = torch.randn(7, 9, dtype=torch.float64, generator=GENERATOR)
TARGETS = torch.randn(7, dtype=torch.float64, generator=GENERATOR) * 3
FAMILIES = {"gaussian": distributions.Normal, "laplace": distributions.Laplace}
softplus = torch.nn.functional.softplus


def reference(family, outputs):
    if outputs.shape[1] == 2:
        return FAMILIES[family](outputs[:, 0], softplus(outputs[:, 1]) + LEAST_SCALE)
    weights, locations, scales = outputs.chunk(3, dim=1)
    return distributions.MixtureSameFamily(distributions.Categorical(logits=weights), FAMILIES[family](locations, softplus(scales) + LEAST_SCALE))


@pytest.mark.parametrize("family", list(FAMILIES))
@pytest.mark.parametrize("size", [2, 3, 9])
def test_likelihood_moments_and_cdf_are_torchs(family, size):
    head, outputs = DensityHead(family), OUTPUTS[:, :size]
    mixture, wanted = head.mixture(outputs), reference(family, outputs)
    torch.testing.assert_close(head(outputs, TARGETS), -wanted.log_prob(TARGETS), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(mixture.mean(), wanted.mean)
    torch.testing.assert_close(mixture.deviation(), wanted.stddev)
    torch.testing.assert_close(mixture.cdf(TARGETS[:, None])[:, 0], wanted.cdf(TARGETS))


@pytest.mark.parametrize("family", list(FAMILIES))
@pytest.mark.parametrize("size", [2, 9])
def test_gradients(family, size):
    assert gradcheck(DensityHead(family), (OUTPUTS[:, :size].clone().requires_grad_(), TARGETS))


def test_closed_forms():
    """Notes 002 L1285: log(2 g) + |f - y| / g; the Gaussian's at its mean is log(sigma sqrt(2 pi))."""
    one = torch.ones(1, dtype=torch.float64)
    assert float(laplace_nll(0 * one, 0.5 * one, 2 * one)) == 4.0
    assert float(gaussian_nll(one, one, one)) == pytest.approx(0.9189385332, abs=1e-10)
    assert float(gaussian_nll(0 * one, 2 * one, 4 * one)) == pytest.approx(0.9189385332 + 0.6931471806 + 2.0, abs=1e-9)


@pytest.mark.parametrize("family", list(FAMILIES))
def test_quantiles_are_where_the_cdf_says(family):
    mixture = DensityHead(family).mixture(OUTPUTS)
    levels = torch.tensor([0.05, 0.5, 0.95], dtype=torch.float64)
    found = mixture.quantiles(levels)
    torch.testing.assert_close(mixture.cdf(found), levels.expand(7, 3), rtol=0, atol=1e-9)
    single = DensityHead(family).mixture(OUTPUTS[:, :2])
    torch.testing.assert_close(single.quantiles(levels), reference(family, OUTPUTS[:, :2]).icdf(levels[:, None]).T)


def test_a_scale_is_never_zero_and_a_far_target_never_infinite():
    """Erratum 002 E8: a ReLU would give 0 here."""
    outputs = torch.tensor([[0.0, -200.0]], requires_grad=True)
    loss = DensityHead("laplace")(outputs, torch.tensor([1e6]))
    loss.sum().backward()
    assert torch.isfinite(loss).all() and torch.isfinite(outputs.grad).all()
    far = DensityHead("gaussian")(torch.zeros(1, 6), torch.tensor([1e4]))
    assert torch.isfinite(far).all()


def test_half_precision_is_computed_in_float32_and_mistakes_are_told():
    assert DensityHead()(OUTPUTS.bfloat16(), TARGETS.float()).dtype == torch.float32
    with pytest.raises(UserError, match="3 a component"):
        DensityHead().mixture(torch.zeros(1, 4))
    with pytest.raises(UserError, match="family"):
        DensityHead("cauchy")


def test_half_squared_error_is_half_of_torchs():
    a, b = OUTPUTS[:, 0], TARGETS
    torch.testing.assert_close(HalfSquaredError()(a, b).mean(), 0.5 * torch.nn.functional.mse_loss(a, b))
    assert gradcheck(HalfSquaredError(), (a.clone().requires_grad_(), b))
    assert HalfSquaredError()(a.bfloat16(), b.float()).dtype == torch.float32
