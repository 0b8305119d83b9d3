"""D16, D17: what the loss promises."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from components.losses.classification import CrossEntropy
from components.tasks.classification import Classification
from components.training.doctor.finding import Skipped
from components.training.doctor.loss import contract, loss_input, term_ratio
from tests.training.doctor.conftest import SOUND, mlp, system
from tests.training.systems import Weighted, gan, recurrent


class Mean(Classification):
    """The fault: a mean where the loop divides once more."""

    def losses(self, networks, batch, context):
        return {k: v / len(batch["targets"]) for k, v in super().losses(networks, batch, context).items()}


class Squared(Classification):
    """A loss that is no sum over samples, nor their mean."""

    def losses(self, networks, batch, context):
        return {k: v**2 for k, v in super().losses(networks, batch, context).items()}


class Detached(Classification):
    def losses(self, networks, batch, context):
        return {k: v.detach() for k, v in super().losses(networks, batch, context).items()}


class Renamed(Classification):
    def losses(self, networks, batch, context):
        return {f"{k} of classes": v for k, v in super().losses(networks, batch, context).items()}


class Each(Classification):
    def losses(self, networks, batch, context):
        return {k: v.expand(2) for k, v in super().losses(networks, batch, context).items()}


class Infinite(Classification):
    def losses(self, networks, batch, context):
        return {k: v / 0 for k, v in super().losses(networks, batch, context).items()}


class CountsOne(Classification):
    def counts(self, batch, context):
        return {"loss": 1.0}


@pytest.mark.parametrize("build", [SOUND, recurrent, gan, system(mlp, Weighted), system(mlp, loss=CrossEntropy(label_smoothing=0.1))])
def test_sums_with_gradients_pass(patient, build):
    assert contract(patient(build)).status == "ok"


@pytest.mark.parametrize(
    ("task", "status", "found"),
    [
        (Mean, "fail", "the loss 'loss' is"),
        (Squared, "warn", "the loss 'loss' is"),
        (Detached, "fail", "'loss' has no gradient"),
        (Renamed, "fail", "terms ['loss of classes'] but counts ['loss']"),
        (Each, "fail", "'loss' has shape (2,)"),
        (Infinite, "fail", "'loss' is inf"),
        (CountsOne, "warn", "the count 'loss' is 1 for a batch, 1 and 1 for its halves"),
    ],
)
def test_a_broken_promise_is_told(patient, task, status, found):
    finding = contract(patient(system(mlp, task)))
    assert finding.status == status and found in finding.found


class LogLikelihood(nn.Module):
    """torch's NLLLoss, one value a sample: it takes log-probabilities."""

    def forward(self, logits, targets):
        return F.nll_loss(logits, targets, reduction="none")


def ending(layer):
    return lambda: nn.Sequential(*mlp(), layer)


@pytest.mark.parametrize("build", [SOUND, system(ending(nn.LogSoftmax(1))), system(ending(nn.LogSoftmax(1)), loss=LogLikelihood())])
def test_a_likelihood_sums_to_one_over_the_classes(patient, build):
    """Cross entropy of logits; of log-probabilities, whose softmax they are already; and NLLLoss of log-probabilities (erratum E15)."""
    finding = loss_input(patient(build))
    assert finding.status == "ok" and finding.found == "exp(-loss) sums to 1 over 3 classes"


def test_smoothing_is_no_fault(patient):
    assert loss_input(patient(system(mlp, loss=CrossEntropy(label_smoothing=0.2)))).status == "ok"


def test_nll_of_logits_or_of_probabilities_is_suspected(patient):
    class Zeros(nn.Module):
        def forward(self, logits):
            return 0.0 * logits

    finding = loss_input(patient(system(ending(Zeros()), loss=LogLikelihood())))
    assert finding.status == "warn" and finding.found == "exp(-loss) sums to 3 over 3 classes"  # 3 x e^0
    finding = loss_input(patient(system(ending(nn.Sequential(Zeros(), nn.Softmax(1))), loss=LogLikelihood())))
    assert finding.status == "fail" and finding.found.startswith("exp(-loss) sums to 4.187 over 3 classes; these are probabilities")  # 3 x e^(1/3)


def test_two_softmaxes_are_found(patient):
    finding = loss_input(patient(system(ending(nn.Softmax(1)))))
    assert finding.status == "fail" and "probabilities" in finding.found


def test_a_loss_that_takes_the_logarithm_of_probabilities_is_sound(patient):
    class OfProbabilities(nn.Module):
        def forward(self, probabilities, targets):
            return -probabilities.gather(1, targets[:, None]).squeeze(1).log()

    assert loss_input(patient(system(ending(nn.Softmax(1)), loss=OfProbabilities()))).status == "ok"


def test_what_classifies_nothing_is_left_alone(patient):
    with pytest.raises(Skipped, match="no logits"):
        loss_input(patient(gan))


class TwoTerms(Classification):
    """The same loss twice, once with a weight."""

    factor = 1.0

    def counts(self, batch, context):
        return dict.fromkeys(("plain", "heavy"), super().counts(batch, context)["loss"])

    def losses(self, networks, batch, context):
        loss = super().losses(networks, batch, context)["loss"]
        return {"plain": loss, "heavy": self.factor * loss}


@pytest.mark.parametrize(("factor", "status", "ratio"), [(50.0, "ok", "50"), (150.0, "warn", "150"), (1 / 150, "warn", "150"), (0.0, "warn", "inf")])
def test_terms_of_another_magnitude_are_told(patient, factor, status, ratio):
    task = type("Task", (TwoTerms,), {"factor": factor})
    finding = term_ratio(patient(system(mlp, task)))
    assert finding.status == status and finding.found.endswith(f"ratio {ratio}")


def test_one_term_has_no_ratio(patient):
    with pytest.raises(Skipped, match="one term"):
        term_ratio(patient())


def test_the_checks_leave_the_generator_of_the_test_alone(patient):
    sound = patient()
    sound.system()
    before = torch.get_rng_state()
    sound.batch(sound.rows(3))
    assert torch.equal(before, torch.get_rng_state())
