"""The ensemble's network and its task."""

from __future__ import annotations

import pytest
import torch

from components.errors import UserError
from components.losses.classification import CrossEntropy
from components.models.cnn.lenet5 import LeNet5
from components.models.ensemble import Ensemble
from components.tasks.base import Phase, StepContext
from components.tasks.ensemble import Ensemble as EnsembleTask

MEMBER = {"_target_": "components.models.cnn.lenet5.LeNet5", "num_classes": 4}


class OneColumn:
    """A card of which a task asks the classes alone."""

    def classes(self, column):
        return ("a", "b", "c", "d")


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Ensemble(MEMBER, 3)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    targets = torch.randint(4, (5,), generator=generator)
    return {"inputs": torch.randn(5, 1, 32, 32, generator=generator), "targets": targets, "sample_id": torch.arange(5)}


def test_members_have_weights_of_their_own_and_answer_in_log_probabilities(model, batch):
    scores = model(batch["inputs"])
    assert scores.shape == (5, 3, 4)
    for i, member in enumerate(model.members):
        assert isinstance(member, LeNet5)
        torch.testing.assert_close(scores[:, i], member(batch["inputs"]).log_softmax(dim=1))
    assert not torch.equal(scores[:, 0], scores[:, 1])
    assert sum(p.numel() for p in model.parameters()) == 3 * (61_706 - 6 * 85)


def test_the_mean_probability_decides(model, batch):
    task = EnsembleTask(CrossEntropy(), OneColumn())
    outputs = task.predict({"model": model}, batch)
    mean = torch.stack([member(batch["inputs"]).softmax(dim=1) for member in model.members]).mean(dim=0)
    torch.testing.assert_close(outputs["logits"].exp(), mean)
    torch.testing.assert_close(outputs["losses"], -mean[torch.arange(5), batch["targets"]].log())
    shown = task.samples(batch, outputs)
    torch.testing.assert_close(shown["probabilities"], mean)
    assert shown["member_predictions"].shape == (5, 3)


def test_no_member_learns_from_another(model, batch):
    task = EnsembleTask(CrossEntropy(), OneColumn())
    context = StepContext(Phase("main", "model"), None, 0, 0)
    task.losses({"model": model}, batch, context)["loss"].backward()
    found = [p.grad.clone() for p in model.members[1].parameters()]
    alone = torch.nn.functional.cross_entropy(model.members[1](batch["inputs"]), batch["targets"], reduction="sum") / 3
    for gradient, expected in zip(found, torch.autograd.grad(alone, list(model.members[1].parameters())), strict=True):
        torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize(("member", "count", "message"), [(MEMBER, 1, "several members"), ({"num_classes": 4}, 2, "_target_")])
def test_what_is_no_ensemble_is_refused(member, count, message):
    with pytest.raises(UserError, match=message):
        Ensemble(member, count)
