"""D15: modes and gradients that are cleared."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from components.tasks.classification import Classification
from components.training.doctor.modes import cleared_gradients, evaluation_mode
from tests.training.doctor.conftest import SOUND, mlp, system
from tests.training.systems import dropout, gan, normalised, recurrent, sampled_dropout


@pytest.mark.parametrize("build", [SOUND, dropout, sampled_dropout, normalised, recurrent, gan])
@pytest.mark.parametrize("check", [evaluation_mode, cleared_gradients])
def test_sound_systems_pass(patient, build, check):
    assert check(patient(build)).status == "ok"


class AlwaysDrops(nn.Module):
    """The fault of functional dropout: `training` is True by default."""

    def forward(self, inputs):
        return F.dropout(inputs, 0.5)


class AlwaysCounts(nn.Module):
    """A running value that moves in evaluation too."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, inputs):
        self.seen += len(inputs)
        return inputs


class Stubborn(nn.Module):
    """Does not hear of evaluation."""

    def train(self, mode=True):
        return super().train(True)

    def forward(self, inputs):
        return inputs


class Wakes(Classification):
    def predict(self, networks, batch):
        networks["model"].train()
        return super().predict(networks, batch)


@pytest.mark.parametrize(
    ("build", "found"),
    [
        (system(lambda: nn.Sequential(*mlp(), AlwaysDrops())), "random: logits"),
        (system(lambda: nn.Sequential(AlwaysCounts(), *mlp())), "changed: 0.seen"),
        (system(lambda: nn.Sequential(Stubborn(), *mlp())), "in training mode: 0"),
        (system(mlp, Wakes), "in training mode: the model"),
    ],
)
def test_a_mode_that_is_not_respected_is_told(patient, build, found):
    finding = evaluation_mode(patient(build))
    assert finding.status == "fail" and found in finding.found


class Head(nn.Module):
    """The whole model in the forward pass, its last layer alone for the optimizer: nobody clears the gradients of the rest."""

    def __init__(self, whole: nn.Sequential) -> None:
        super().__init__()
        self.whole = [whole]
        self.last = whole[-1]

    def forward(self, inputs):
        return self.whole[0](inputs)


class SplitsOff(Classification):
    def split(self, model):
        return {"model": Head(model)}


class Sleeps(Classification):
    def losses(self, networks, batch, context):
        networks["model"].eval()
        return super().losses(networks, batch, context)


def test_a_gradient_that_nobody_clears_is_told(patient):
    finding = cleared_gradients(patient(system(mlp, SplitsOff)))
    assert finding.status == "fail" and finding.found == "gradients kept by: 1.weight, 1.bias"


def test_a_task_that_trains_in_evaluation_mode_is_told(patient):
    finding = cleared_gradients(patient(system(mlp, Sleeps)))
    assert finding.status == "warn" and "in evaluation mode: the model" in finding.found
