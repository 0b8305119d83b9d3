"""D19, samples apart, no look ahead."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from components.tasks.base import Task
from components.training.doctor.finding import Skipped
from components.training.doctor.shapes import _next_prime, future, independence, odd_batches, prime_images, smallest_batch
from tests.training.doctor.conftest import SOUND, mlp, system
from tests.training.systems import dropout, gan, normalised, recurrent


class Centred(nn.Module):
    """The fault: a mean over the batch where one over the channels was meant."""

    def forward(self, inputs):
        return inputs - inputs.mean(0)


class Swapped(nn.Module):
    """The fault: `view` where `permute` was meant, (B, K) -> (K, B) -> (B, K)."""

    def forward(self, inputs):
        return inputs.t().contiguous().view(inputs.shape)


def ending(layer):
    return system(lambda: nn.Sequential(*mlp(), layer))


@pytest.mark.parametrize("build", [SOUND, dropout, normalised, recurrent, gan])
@pytest.mark.parametrize("check", [odd_batches, independence])
def test_sound_systems_pass(patient, build, check):
    assert check(patient(build)).status == "ok"


@pytest.mark.parametrize("layer", [Centred(), Swapped(), nn.Softmax(0)])
@pytest.mark.parametrize("check", [odd_batches, independence])
def test_a_mixed_up_axis_is_found(patient, layer, check):
    assert check(patient(ending(layer))).status == "fail"


def test_samples_that_see_each_other_are_named(patient):
    assert "0 sees 1, 0 sees 2, 0 sees 3, 1 sees 0" in independence(patient(ending(Centred()))).found


def test_predictions_without_gradients_cannot_be_asked(patient):
    class Decoded(nn.Module):
        def forward(self, inputs):
            return inputs.detach()

    with pytest.raises(Skipped, match="no gradient"):
        independence(patient(ending(Decoded())))


def test_the_last_batch_of_one_row_stops_batch_normalisation(patient):
    finding = smallest_batch(patient(normalised))  # 41 rows in batches of 8
    assert finding.status == "fail" and "1 rows" in finding.found and "more than 1 value" in finding.found
    assert smallest_batch(patient(normalised, "trainer.batch_size=9")).found == "the last batch of an epoch has 5 rows"
    assert smallest_batch(patient(SOUND)).status == "ok"


def test_the_next_prime():
    assert [_next_prime(n) for n in (1, 2, 8, 11, 28, 32, 37, 224)] == [2, 3, 11, 13, 29, 37, 41, 227]


class Convolution(nn.Module):
    """Takes any size; `fold` is what it does with (B, 3, H, W)."""

    def __init__(self, fold) -> None:
        super().__init__()
        self.layer, self.fold = nn.Conv2d(1, 3, 3), fold

    def forward(self, inputs):
        return self.fold(self.layer(inputs))


def test_images_of_prime_sizes_go_through_a_convolution(patient):
    finding = prime_images(patient(system(lambda: Convolution(lambda x: x.mean((2, 3))))))
    assert finding.status == "ok" and finding.found.startswith("images of 11 x 13")


def test_a_model_of_one_size_is_left_alone(patient):
    with pytest.raises(Skipped, match=r"the data's size, \(8, 8\)"):
        prime_images(patient(SOUND))


class NextToken(Task):
    """Logits (B, T, K) for the next of K tokens."""

    def counts(self, batch, context):
        return {"loss": float(batch["targets"].numel())}

    def losses(self, networks, batch, context):
        return {"loss": F.cross_entropy(networks["model"](batch["inputs"]).flatten(0, 1), batch["targets"].flatten(), reduction="sum")}

    def predict(self, networks, batch):
        return {"logits": networks["model"](batch["inputs"])}

    def metrics(self):
        raise NotImplementedError

    def samples(self, batch, outputs):
        raise NotImplementedError


class Reader(nn.Module):
    """A recurrent reader of tokens, in one direction or in both."""

    def __init__(self, *, both: bool) -> None:
        super().__init__()
        self.embed, self.read = nn.Embedding(11, 5), nn.GRU(5, 6, batch_first=True, bidirectional=both)
        self.out = nn.Linear(12 if both else 6, 11)

    def forward(self, inputs):
        return self.out(self.read(self.embed(inputs))[0])


def reader(*, both: bool):
    def build(spec, card, session):
        torch.manual_seed(0)
        return Reader(both=both), NextToken()

    return build


@pytest.fixture
def tokens(write):
    """Rows of 9 tokens; targets are the inputs' next ones, or not."""

    def make(ahead: int):
        rng = np.random.default_rng(3)
        text = {name: rng.integers(0, 11, (rows, 12)) for name, rows in (("train", 40), ("validation", 20), ("test", 20))}
        return write({name: {"inputs": t[:, :9].copy(), "targets": t[:, ahead : ahead + 9].copy()} for name, t in text.items()}, classes=None)

    return make


def test_a_reader_in_one_direction_sees_no_future(patient, tokens):
    finding = future(patient(reader(both=False), directory=tokens(1), always=[], train=[]))
    assert finding.status == "ok" and finding.found == "none of 9 steps sees a later one"


def test_a_reader_in_both_directions_is_found(patient, tokens):
    finding = future(patient(reader(both=True), directory=tokens(1), always=[], train=[]))
    assert finding.status == "fail" and finding.found.startswith("outputs up to step 0, 4, 7 change")


def test_who_predicts_something_else_may_look_ahead(patient, tokens):
    with pytest.raises(Skipped, match="not the inputs' next values"):
        future(patient(reader(both=True), directory=tokens(2), always=[], train=[]))
    with pytest.raises(Skipped, match="no sequence"):
        future(patient(SOUND))


def test_tokens_have_no_gradient(patient, tokens):
    with pytest.raises(Skipped, match=r"torch.int64, no real numbers"):
        independence(patient(reader(both=False), directory=tokens(1), always=[], train=[]))
