"""Two phases, two optimizers: a toy GAN through the same loop."""

from __future__ import annotations

import pytest
import torch

from components.training.checkpoint import Checkpoints, verify
from tests.training import systems
from tests.training.systems import train
from tests.training.test_loop import assert_same_weights, records

OPTIONS = ("trainer.monitor.metric=validation/score", "optimizer.lr=0.02", "trainer.duration=4ep")


@pytest.fixture(scope="module")
def runs(group, plain, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gan")
    return {w: (folder / str(w), group.run(w, train, plain(*OPTIONS), data, folder / str(w), systems.gan)) for w in (1, 2)}


@pytest.mark.parametrize("world", [1, 2])
def test_each_phase_moves_its_own_network_and_the_step_counts_once(runs, world):
    for result in runs[world][1]:
        notes = result["notes"]
        assert notes["phases"] == [(step, phase) for step in range(24) for phase in ("discriminator", "generator")]
        assert notes["moved"] == [{"discriminator"} if i % 2 == 0 else {"generator"} for i in range(47)]
    summary = runs[world][1][0]["summary"]
    assert summary["steps"] == 24
    assert records(runs[world][1][0], "step", "step") == list(range(1, 25))


def test_two_workers_equal_one(runs):
    (_, (one,)), (_, two) = runs[1], runs[2]
    assert records(two[0], "step", "loss") == pytest.approx(records(one, "step", "loss"), abs=1e-5)
    assert_same_weights(two[0]["weights"], one["weights"], 1e-6)
    assert_same_weights(two[0]["weights"], two[1]["weights"])


def test_what_its_author_froze_stays_frozen(runs):
    torch.manual_seed(0)
    start = systems.ToyGan(normalise=False).state_dict()
    trained = runs[2][1][0]["weights"]
    assert torch.equal(trained["discriminator.1.bias"], start["discriminator.1.bias"])
    assert not torch.equal(trained["discriminator.1.weight"], start["discriminator.1.weight"])


@pytest.mark.parametrize("world", [1, 2])
def test_interrupted_and_resumed_equals_uninterrupted_to_the_bit(group, plain, data, tmp_path, runs, world):
    stopped = group.run(world, train, plain(*OPTIONS), data, tmp_path, systems.gan, 15)
    assert stopped[0]["summary"] is None
    resumed = group.run(world, train, plain(*OPTIONS), data, tmp_path, systems.gan)
    assert resumed[0]["notes"]["phases"][0] == (12, "discriminator")
    folder, whole = runs[world]
    assert records(resumed[0], "step", "loss") == records(whole[0], "step", "loss")
    one, other = [verify(Checkpoints(d / "checkpoints").path("latest")) for d in (folder, tmp_path)]
    assert one["files"]["model.safetensors"] == other["files"]["model.safetensors"]


def test_two_passes_through_a_normalising_discriminator_in_one_phase(group, plain, data, tmp_path):
    """On two workers DDP broadcasts the running means before each pass; the backward pass through both must stand that."""
    ranks = group.run(2, train, plain(*OPTIONS, "trainer.batch_size=18"), data, tmp_path, systems.normalised_gan)
    assert ranks[0]["summary"]["steps"] == 12
    assert_same_weights(ranks[0]["weights"], ranks[1]["weights"])
