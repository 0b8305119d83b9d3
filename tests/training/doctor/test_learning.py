"""D1, D2, D5, D7: sound systems learn, planted faults do not."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from components.errors import UserError
from components.tasks.classification import Classification
from components.training.doctor.finding import Skipped
from components.training.doctor.learning import _learned, _stuck, alignment, overfit_one, overfit_ten, random_inputs, trial
from tests.training.doctor.conftest import SOUND, mlp, system
from tests.training.systems import gan, recurrent, sampled_dropout


@pytest.mark.parametrize("build", [SOUND, sampled_dropout, recurrent], ids=["mlp", "dropout", "recurrent"])
def test_a_sound_system_passes_all_four(patient, build):
    sound = patient(build)
    assert [check(sound).status for check in (overfit_one, overfit_ten, random_inputs, alignment)] == ["ok"] * 4


@pytest.mark.parametrize("check", [overfit_one, overfit_ten])
def test_a_rate_of_zero_cannot_overfit_though_one_guess_in_three_is_right(patient, check):
    """The loss stays where it was, so the accuracy that chance gives does not count."""
    finding = check(patient(SOUND, "optimizer.lr=0"))
    first, last = finding.found.split(" in ")[0].removeprefix("loss ").split(" -> ")
    assert finding.status == "fail" and first == last


class _LastBiasOnly(nn.Module):
    """Gives the same logits to every sample."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(3))

    def forward(self, inputs):
        return self.logits.expand(len(inputs), 3)


def test_one_sample_needs_no_inputs_but_ten_do(patient):
    """A bias learns one label; with ten samples of three classes it is right on the most frequent class alone."""
    assert overfit_one(patient(system(_LastBiasOnly))).status == "ok"
    assert overfit_ten(patient(system(_LastBiasOnly))).status == "fail"


def test_a_model_that_discards_its_inputs_is_found(patient):
    finding = random_inputs(patient(system(_LastBiasOnly)))
    assert finding.status == "fail" and "discards its input" in finding.mend


def test_labels_that_belong_to_their_rows_are_learned(patient, write, splits):
    assert alignment(patient(directory=write(splits))).status == "ok"


def test_labels_out_of_step_are_found(patient, write, splits):
    rng = np.random.default_rng(4)
    for split in splits.values():
        split["targets"] = rng.permutation(split["targets"])
    finding = alignment(patient(directory=write(splits)))
    assert finding.status == "fail" and "rows together" in finding.mend


@pytest.mark.parametrize("check", [random_inputs, alignment])
def test_where_nothing_moves_there_is_nothing_to_compare(patient, check):
    with pytest.raises(Skipped, match="no weight moved"):
        check(patient(SOUND, "optimizer.lr=0"))


def test_batch_normalisation_cannot_train_on_one_sample(patient):
    model = system(lambda: nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 3)))
    with pytest.raises(Skipped, match="more than 1 value"):
        overfit_one(patient(model))
    assert overfit_ten(patient(model)).status == "ok"


def test_a_pattern_that_matches_nothing_is_the_user_s_mistake(patient):
    with pytest.raises(UserError, match="frozen"):
        overfit_one(patient(SOUND, "parameters.frozen=[nothing]"))


@pytest.mark.parametrize("check", [overfit_one, overfit_ten, random_inputs, alignment])
def test_two_players_are_left_alone(patient, check):
    with pytest.raises(Skipped, match="2 phases"):
        check(patient(gan))


@pytest.mark.parametrize(
    ("first", "loss", "accuracy", "learned"),
    [
        (1.1, 0.001, 1.0, True),
        (1.1, 0.54, 0.9, True),  # label smoothing keeps a loss up
        (1.1, 0.56, 1.0, False),
        (1.1, 0.001, 0.8, False),
        (1.1, math.nan, 1.0, False),
        (2.0, 0.19, None, True),
        (2.0, 0.21, None, False),
        (-1.0, -1.5, None, True),  # a log density
        (-1.0, -0.9, None, False),
        (-1.0, -1.5, 0.8, False),
    ],
)
def test_when_a_small_set_is_learned(first, loss, accuracy, learned):
    assert _learned(first, loss, accuracy, target=0.9) is learned


@pytest.mark.parametrize(
    ("losses", "stuck"),
    [
        ([1.0] * 10, False),  # too early to say
        ([1.0] * 11, True),
        ([1.0] * 10 + [0.985], True),
        ([1.0] * 10 + [0.975], False),
        ([0.97**i for i in range(40)], False),
        ([0.997**i for i in range(40)], False),  # 3 % in ten looks
        ([0.9985**i for i in range(40)], True),
        ([1.0, math.nan], True),
        ([-1.0] * 10 + [-1.03], False),
    ],
)
def test_when_a_loss_has_stopped_to_fall(losses, stuck):
    assert _stuck(losses) is stuck


def test_a_slow_learner_is_warned_of_only(patient):
    """At a hundredth of the rate the loss still falls when the steps are used up."""
    finding = overfit_ten(patient(SOUND, "optimizer.lr=5e-5"))
    assert finding.status == "warn" and finding.found.endswith("still falling") and " in 400 steps" in finding.found


def test_each_step_on_the_same_samples_drops_other_activations(patient):
    """The same mask at every step would train a part of the network, and evaluation takes the whole."""
    seen = []

    class Listening(Classification):
        def losses(self, networks, batch, context):
            if networks["model"].training:
                seen.append(context.draws.uniform("dropout", 4).tolist())
            return super().losses(networks, batch, context)

    assert overfit_ten(patient(system(mlp, Listening))).status == "ok"
    assert len(seen) >= 10 and all(a != b for a, b in itertools.combinations(seen, 2))


def test_a_trial_is_the_same_twice_and_leaves_the_patient_as_it_was(patient):
    one = patient()

    def plain(batch, rows):
        return one.transformed(batch)

    assert trial(one, plain) == trial(one, plain)
