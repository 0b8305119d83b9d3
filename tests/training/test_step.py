"""One step: its order, its micro-batches, its clipping, its averages, its phases."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from components.errors import RunError, UserError
from components.training.checkpoint import Checkpoints
from components.training.plain_state import load_state
from tests.training import systems
from tests.training.systems import train
from tests.training.test_loop import assert_same_weights, by_hand, records

PLAIN_SGD = ("schedule=constant", "optimizer.lr=1.0", "optimizer.momentum=0.0", "optimizer.nesterov=false", "optimizer.weight_decay=0.0")


@pytest.fixture(scope="module")
def whole(group, plain, data, tmp_path_factory):
    """Two epochs in whole batches on one worker."""
    return group.run(1, train, plain("trainer.duration=2ep"), data, tmp_path_factory.mktemp("whole"), systems.weighted)[0]


@pytest.mark.parametrize(("world", "accumulate"), [(1, 4), (1, 3), (2, 2), (3, 1), (2, 4)])
def test_micro_batches_of_unequal_counts_make_the_gradient_of_the_whole_batch(group, plain, data, tmp_path, whole, world, accumulate):
    """`weighted` has a term that some micro-batches do not count at all, and the last batch of an epoch is one row."""
    spec = plain("trainer.duration=2ep", f"trainer.accumulate={accumulate}")
    found = group.run(world, train, spec, data, tmp_path, systems.weighted)
    assert records(found[0], "step", "loss") == pytest.approx(records(whole, "step", "loss"), abs=1e-6)
    for result in found:
        assert_same_weights(result["weights"], whole["weights"], 1e-6)


def test_gradients_are_exchanged_once_a_step(group, plain, data, tmp_path):
    """Two workers, four micro-batches: DDP's hook runs once for the one bucket, not four times."""
    found = group.run(2, systems.count_exchanges, plain("trainer.accumulate=4", "trainer.duration=3st"), data, tmp_path)
    assert found == [3, 3]


def test_the_order_of_a_step(group, plain, data, tmp_path):
    options = ("trainer.duration=2st", "trainer.accumulate=2", "trainer.clip_norm=1.0", "trainer.clip_value=0.5", "trainer.ema_decay=0.9")
    (found,) = group.run(1, systems.order_of_calls, plain(*options), data, tmp_path)
    one = [
        "counts",
        "counts",
        "losses",
        "backward",
        "losses",
        "backward",
        "unscale",
        "norm",
        "clip norm",
        "clip value",
        "finite",
        "step",
        "scaler",
        "average",
        "zero",
    ]
    assert found == one * 2


def test_clipping_by_value_bounds_each_element(group, plain, data, tmp_path):
    (result,) = group.run(1, train, plain(*PLAIN_SGD, "trainer.duration=1st", "trainer.clip_value=0.002"), data, tmp_path, systems.linear)
    _, _, gradients = by_hand(data, lambda p: torch.optim.SGD(p, lr=1.0), epochs=1, batch_size=8)
    start = systems.linear_start()
    assert any(g.abs().max() > 0.002 for g in gradients[0])
    for before, after, gradient in zip(start.parameters(), result["weights"].values(), gradients[0], strict=True):
        torch.testing.assert_close(before - after, gradient.clamp(-0.002, 0.002), rtol=1e-3, atol=1e-7)


def test_the_average_of_the_weights_is_what_is_validated_and_both_are_saved(group, plain, data, tmp_path):
    """decay 1: the average stays at the first weights it took, which are those after the first step."""
    group.run(1, train, plain("trainer.duration=1st"), data, tmp_path / "first", systems.linear)
    spec = plain("trainer.duration=2ep", "trainer.ema_decay=1.0", "optimizer.lr=0.5")
    (result,) = group.run(1, train, spec, data, tmp_path / "all", systems.linear)
    losses = records(result, "epoch", "validation/loss")
    assert losses[0] == losses[1] and records(result, "step", "loss")[-1] != records(result, "step", "loss")[0]
    saved = Checkpoints(tmp_path / "all" / "checkpoints").path("latest")
    (raw,) = group.run(1, systems.evaluate_checkpoint, spec, data, saved, systems.linear)
    (averaged,) = group.run(1, systems.evaluate_checkpoint, spec, data, saved, systems.linear, "ema.safetensors")
    assert averaged["validation/loss"] == losses[1] != raw["validation/loss"]
    assert_same_weights(systems.weights_of(saved / "model.safetensors"), result["weights"])


def test_half_precision_scales_the_loss_and_leaves_out_steps_that_overflow(group, plain, data, tmp_path):
    """The scaler begins at 65,536; this loss is large enough for the scaled gradients to leave float16's range at first."""
    spec = plain("trainer.precision=fp16", "trainer.duration=2ep", "trainer.clip_norm=1.0")
    (result,) = group.run(1, train, spec, data, tmp_path, systems.linear)
    losses = records(result, "step", "loss")
    assert losses[-1] < losses[0] and all(math.isfinite(v) for v in losses)
    assert load_state(Checkpoints(tmp_path / "checkpoints").path("latest"))["scaler"]["scale"] > 0


def test_phases_have_options_and_a_rhythm_of_their_own(group, plain, data, tmp_path):
    options = ("trainer.monitor.metric=validation/score", "trainer.duration=6st", "schedule=constant")
    spec = plain(*options, "phases={generator: {optimizer: {lr: 0.25}, every_steps: 3}}")
    (result,) = group.run(1, train, spec, data, tmp_path, systems.gan)
    steps = [step for step, phase in result["notes"]["phases"] if phase == "generator"]
    assert steps == [0, 3]
    state = load_state(Checkpoints(tmp_path / "checkpoints").path("latest"))["optimizers"]
    assert [state[p]["param_groups"][0]["lr"] for p in ("discriminator", "generator")] == [0.05, 0.25]
    with pytest.raises(UserError, match="no phase 'generater', did you mean 'generator'"):
        group.run(1, train, plain(*options, "phases={generater: {every_steps: 2}}"), data, tmp_path / "typo", systems.gan)


def test_frozen_parameters_and_rates_by_name(group, plain, data, tmp_path):
    """The first layer stands still; the last bias moves at half the rate of the last weight."""
    spec = {**plain(*PLAIN_SGD, "trainer.duration=1st"), "parameters": {"frozen": ["1.*"], "rates": {"3.bias": 0.5}}}
    (result,) = group.run(1, train, spec, data, tmp_path, systems.linear)
    _, _, gradients = by_hand(data, lambda p: torch.optim.SGD(p, lr=1.0), epochs=1, batch_size=8)
    start = dict(systems.linear_start().named_parameters())
    moved: dict[str, Any] = {k: start[k] - v for k, v in result["weights"].items()}
    assert not moved["1.weight"].any() and not moved["1.bias"].any()
    torch.testing.assert_close(moved["3.weight"], gradients[0][2], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(moved["3.bias"], gradients[0][3] / 2, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("world", [1, 2])
def test_a_gradient_that_is_no_number_leaves_the_weights_alone(group, plain, data, tmp_path, world):
    with pytest.raises(RunError, match="a number is not finite"):
        group.run(world, train, plain(), data, tmp_path / "run", systems.poisoned)
    clean = group.run(world, train, plain("schedule=constant", "trainer.duration=8st"), data, tmp_path / "clean", systems.linear)
    after = group.run(world, systems.weights_at_a_bad_step, plain("schedule=constant"), data, tmp_path / "again")
    for weights, expected in zip(after, clean, strict=True):
        assert_same_weights(weights, expected["weights"])


def test_batch_statistics_over_all_workers_are_those_of_the_whole_batch(group, plain, data, tmp_path):
    """10 rows by 18 and 41 rows: no stand-in, which would count twice in the statistics."""
    spec = plain("trainer.batch_size=18", "trainer.duration=2ep", "trainer.sync_batchnorm=true")
    (one,) = group.run(1, train, spec, data, tmp_path / "1", systems.normalised)
    two = group.run(2, train, spec, data, tmp_path / "2", systems.normalised)
    for result in two:
        assert_same_weights(result["weights"], one["weights"], 2e-6)
    (alone, _) = group.run(2, train, {**spec, "trainer": {**spec["trainer"], "sync_batchnorm": False}}, data, tmp_path / "3", systems.normalised)
    assert not torch.allclose(alone["weights"]["1.running_var"], one["weights"]["1.running_var"], atol=1e-4)


def test_our_dropout_is_equal_on_any_number_of_workers_and_torch_s_is_not(group, plain, data, tmp_path):
    spec = plain("trainer.duration=2ep")
    ours = {w: group.run(w, train, spec, data, tmp_path / f"ours{w}", systems.sampled_dropout)[0] for w in (1, 2, 3)}
    for world in (2, 3):
        assert_same_weights(ours[world]["weights"], ours[1]["weights"], 1e-6)
    torchs = {w: group.run(w, train, spec, data, tmp_path / f"torch{w}", systems.dropout)[0] for w in (1, 2)}
    assert not torch.allclose(torchs[1]["weights"]["1.weight"], torchs[2]["weights"]["1.weight"], atol=1e-4)
    assert isinstance(systems.linear_start()[1], nn.Linear)
