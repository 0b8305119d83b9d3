"""The variational bound against hand-made numbers, torch's distributions, and a linear-Gaussian model whose log-likelihood is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Bernoulli, Normal, kl_divergence

from components.losses.variational import NegativeELBO, bernoulli_nats, gaussian_kl, importance_bound


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("mean", "variance", "nats"), [(0.0, 1.0, 0.0), (1.0, 1.0, 0.5), (0.0, 4.0, 0.8069)])
def test_kl_of_the_notes(mean, variance, nats):
    """003 section 18."""
    found = gaussian_kl(torch.tensor([[mean]]), torch.tensor([[math.log(variance)]]))
    assert found.item() == pytest.approx(nats, abs=5e-5)


def test_kl_is_torch_s_and_that_of_its_own_samples():
    mean, log_variance = draw(5, 3), draw(5, 3, seed=1)
    q = Normal(mean, (0.5 * log_variance).exp())
    p = Normal(torch.zeros_like(mean), 1.0)
    torch.testing.assert_close(gaussian_kl(mean, log_variance), kl_divergence(q, p).sum(1))
    torch.manual_seed(0)
    z = q.sample((20_000,))
    sampled = (q.log_prob(z) - p.log_prob(z)).sum(2)
    assert ((sampled.mean(0) - gaussian_kl(mean, log_variance)).abs() < 5 * sampled.std(0) / 20_000**0.5).all()


def test_pixels_are_torch_s_bernoulli_and_grey_is_the_mean_over_binary_images():
    logits = draw(2, 3, 1, 2, 2)
    binary = torch.tensor([[[[1.0, 0.0], [1.0, 1.0]]], [[[0.0, 0.0], [1.0, 0.0]]]], dtype=torch.float64)
    expected = -Bernoulli(logits=logits).log_prob(binary[:, None].expand_as(logits)).flatten(2).sum(2)
    torch.testing.assert_close(bernoulli_nats(logits, binary), expected)
    white, black = (bernoulli_nats(logits, torch.full_like(binary, v)) for v in (1.0, 0.0))
    torch.testing.assert_close(bernoulli_nats(logits, torch.full_like(binary, 0.3)), 0.3 * white + 0.7 * black)


def test_gradients():
    mean, log_variance, noise = (t.requires_grad_() for t in (draw(2, 3), draw(2, 3, seed=1), draw(2, 4, 3, seed=2)))
    logits, nats = draw(2, 4, 5, seed=3).requires_grad_(), draw(2, 4, seed=4).requires_grad_()
    targets = draw(2, 5, seed=5).sigmoid()
    assert torch.autograd.gradcheck(gaussian_kl, (mean, log_variance))
    assert torch.autograd.gradcheck(lambda x: bernoulli_nats(x, targets), (logits,))
    assert torch.autograd.gradcheck(importance_bound, (nats, mean, log_variance, noise))
    assert torch.autograd.gradcheck(lambda *x: NegativeELBO()(x[0], targets, *x[1:]), (logits, mean, log_variance))


SPREAD = 0.5  # of x given z: x ~ N(z, 1/4), z ~ N(0, 1), so x ~ N(0, 5/4) and z | x ~ N(x / 1.25, 0.2)
X = torch.tensor([-1.0, 0.3, 2.0], dtype=torch.float64)
POSTERIOR = X[:, None] / 1.25, torch.full((3, 1), math.log(0.2), dtype=torch.float64)
EVIDENCE = Normal(0.0, math.sqrt(1.25)).log_prob(X)


def nats_of(mean: torch.Tensor, log_variance: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    z = mean[:, None] + (0.5 * log_variance)[:, None].exp() * noise
    return -Normal(z[..., 0], SPREAD).log_prob(X[:, None])


def test_the_bound_is_the_log_likelihood_where_q_is_the_posterior():
    """T47: tight, whatever was drawn, for one sample as for many."""
    for samples in (1, 7):
        noise = draw(3, samples, 1)
        torch.testing.assert_close(importance_bound(nats_of(*POSTERIOR, noise), *POSTERIOR, noise), EVIDENCE)
    noise = draw(3, 40_000, 1)
    elbo = -nats_of(*POSTERIOR, noise).mean(1) - gaussian_kl(*POSTERIOR)
    torch.testing.assert_close(elbo, EVIDENCE, atol=0.05, rtol=0.0)


def test_elbo_then_more_samples_then_the_log_likelihood():
    """T47: ELBO <= log p(x), the gap is KL(q || p(z | x)); the importance-weighted bound closes it from below."""
    q = POSTERIOR[0] + 0.4, POSTERIOR[1] + 0.8
    noise = draw(3, 20_000, 1)
    nats = nats_of(*q, noise)
    elbo = -nats.mean(1) - gaussian_kl(*q)
    gap = kl_divergence(*(Normal(mean[:, 0], (0.5 * log_variance[:, 0]).exp()) for mean, log_variance in (q, POSTERIOR)))
    torch.testing.assert_close(EVIDENCE - elbo, gap, atol=0.06, rtol=0.0)
    blocks = [noise.unflatten(1, (-1, size)) for size in (1, 5, 50)]
    bounds = [torch.stack([importance_bound(nats_of(*q, n), *q, n) for n in block[:, :400].unbind(1)]).mean(0) for block in blocks]
    assert (bounds[0] < bounds[1]).all() and (bounds[1] < bounds[2]).all() and (bounds[2] < EVIDENCE + 0.02).all()
    torch.testing.assert_close(bounds[0], elbo, atol=0.1, rtol=0.0)


def test_samples_of_the_prior_have_a_greater_variance():
    """M60, T47: an estimate of log p(x) from prior samples scatters more than one from q, near the posterior."""
    prior, q = (torch.zeros(3, 1, dtype=torch.float64), torch.zeros(3, 1, dtype=torch.float64)), (POSTERIOR[0], POSTERIOR[1] + 0.2)
    spreads = []
    for mean, log_variance in (prior, q):
        found = [importance_bound(nats_of(mean, log_variance, n), mean, log_variance, n) for n in (draw(3, 20, 1, seed=s) for s in range(200))]
        spreads.append(torch.stack(found).std(0))
    assert (spreads[0] > 3 * spreads[1]).all()


def test_half_precision_is_computed_in_float32():
    mean, log_variance = draw(2, 3).bfloat16(), draw(2, 3, seed=1).bfloat16()
    assert gaussian_kl(mean, log_variance).dtype == torch.float32
    assert bernoulli_nats(draw(2, 1, 4).bfloat16(), torch.zeros(2, 4)).dtype == torch.float32
