"""The value function of the notes, the best discriminator, and the two gradients of the generator."""

from __future__ import annotations

import math

import pytest
import torch

from components.losses.adversarial import NonSaturating, Saturating


def logit(probability: float) -> torch.Tensor:
    return torch.tensor([math.log(probability / (1.0 - probability))])


def value(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    return -torch.stack(NonSaturating().discriminator(real, fake)).sum(0)


def test_numbers_of_the_notes():
    """003 section 18: V(.9, .1), saturating G(.1), non-saturating G(.1); R23: V = -log 4 where D = 1/2."""
    assert value(logit(0.9), logit(0.1)).item() == pytest.approx(-0.2107, abs=5e-5)
    assert Saturating().generator(logit(0.1)).item() == pytest.approx(-0.1054, abs=5e-5)
    assert NonSaturating().generator(logit(0.1)).item() == pytest.approx(2.3026, abs=5e-5)
    assert value(logit(0.5), logit(0.5)).item() == pytest.approx(-1.3863, abs=5e-5)


def test_the_best_discriminator_is_the_share_of_the_data():
    """T48, on four places: V is stationary and greatest at D* = p / (p + q), and is there -log 4 + 2 JSD."""
    p, q = torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.tensor([0.4, 0.3, 0.2, 0.1])
    best = (p / q).log()  # the logit of p / (p + q)

    def expected_value(logits: torch.Tensor) -> torch.Tensor:
        real, fake = Saturating().discriminator(logits, logits)
        return -(p * real + q * fake).sum()

    logits = best.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(expected_value(logits), logits)
    torch.testing.assert_close(gradient, torch.zeros(4), atol=1e-7, rtol=0.0)
    middle = (p + q) / 2
    divergence = 0.5 * (p * (p / middle).log()).sum() + 0.5 * (q * (q / middle).log()).sum()
    torch.testing.assert_close(expected_value(best), -math.log(4.0) + 2 * divergence)
    for seed in range(20):
        other = best + torch.randn(4, generator=torch.Generator().manual_seed(seed))
        assert expected_value(other) < expected_value(best)


def test_gradients_of_the_generator_where_the_discriminator_wins():
    """T49: the derivative by the logit is -D and -(1 - D); E31."""
    fake = logit(1e-4).requires_grad_()
    (saturating,) = torch.autograd.grad(Saturating().generator(fake).sum(), fake)
    (other,) = torch.autograd.grad(NonSaturating().generator(fake).sum(), fake)
    assert saturating.item() == pytest.approx(-1e-4, rel=1e-3)
    assert other.item() == pytest.approx(-(1 - 1e-4), rel=1e-3)


def test_numerical_gradients_and_great_logits():
    logits = torch.tensor([-3.0, -0.1, 0.0, 2.0], dtype=torch.float64, requires_grad=True)
    for loss in (Saturating(), NonSaturating()):
        assert torch.autograd.gradcheck(lambda x, loss=loss: loss.generator(x).double(), (logits,), eps=1e-3, atol=1e-3)
        great = torch.tensor([-200.0, 200.0], requires_grad=True)
        loss.generator(great).sum().backward()
        assert loss.generator(great).isfinite().all() and great.grad.isfinite().all()
