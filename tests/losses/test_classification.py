"""Cross entropy against torch, a case by hand, and its numerical gradient."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from components.losses.classification import CrossEntropy, cross_entropy


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(3)
    return torch.randn(7, 5, generator=generator), torch.randint(5, (7,), generator=generator)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_one_value_a_sample_that_adds_up_to_torch_s(case, smoothing):
    logits, targets = case
    found = cross_entropy(logits, targets, smoothing)
    assert found.shape == (7,)
    expected = nn.CrossEntropyLoss(label_smoothing=smoothing)(logits, targets)
    torch.testing.assert_close(found.mean(), expected)
    for i in range(7):  # no sample leans on another
        torch.testing.assert_close(cross_entropy(logits[i : i + 1], targets[i : i + 1], smoothing)[0], found[i])


def test_uniform_logits_cost_the_logarithm_of_the_number_of_classes():
    assert cross_entropy(torch.zeros(1, 8), torch.tensor([3])).item() == pytest.approx(math.log(8))


def test_smoothing_by_hand():
    """Two classes, logits (ln 3, 0): probabilities 3/4 and 1/4. Smoothing 0.2 makes the target (0.9, 0.1)."""
    logits, targets = torch.tensor([[math.log(3.0), 0.0]]), torch.tensor([0])
    assert cross_entropy(logits, targets).item() == pytest.approx(-math.log(0.75))
    assert cross_entropy(logits, targets, 0.2).item() == pytest.approx(-0.9 * math.log(0.75) - 0.1 * math.log(0.25))
    assert CrossEntropy(label_smoothing=0.2)(logits, targets).item() == pytest.approx(-0.9 * math.log(0.75) - 0.1 * math.log(0.25))


def test_the_gradient_is_softmax_minus_the_target(case):
    logits, targets = case
    logits.requires_grad_()
    cross_entropy(logits, targets).sum().backward()
    torch.testing.assert_close(logits.grad, logits.detach().softmax(1) - nn.functional.one_hot(targets, 5))


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_gradient_is_the_numerical_one_in_float64(case, smoothing):
    logits, targets = case
    assert torch.autograd.gradcheck(lambda x: cross_entropy(x, targets, smoothing), logits.double().requires_grad_())


@pytest.mark.parametrize(("given", "computed"), [(torch.float64, torch.float64), (torch.float32, torch.float32), (torch.bfloat16, torch.float32)])
def test_precision(case, given, computed):
    assert cross_entropy(case[0].to(given), case[1]).dtype == computed


def test_large_logits_stay_finite():
    logits = torch.tensor([[1e4, -1e4]])
    assert cross_entropy(logits, torch.tensor([0])).item() == 0.0
    assert cross_entropy(logits, torch.tensor([1])).item() == 2e4
    assert cross_entropy(logits.bfloat16(), torch.tensor([1])).isfinite().all()


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, 2.0])
def test_a_smoothing_outside_its_range_is_refused(smoothing):
    with pytest.raises(ValueError, match="label_smoothing"):
        CrossEntropy(label_smoothing=smoothing)
