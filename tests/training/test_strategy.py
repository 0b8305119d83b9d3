"""The same training, carried out in other ways: sharded, compiled, with other memory formats, with activations computed twice."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from components.errors import UserError
from components.training.checkpoint import Checkpoints, load_weights
from components.training.plain_state import load_state
from tests.training import systems
from tests.training.systems import train
from tests.training.test_loop import assert_same_weights, records

OPTIONS = (
    "optimizer=adamw",
    "optimizer.lr=0.01",
    "trainer.duration=2ep",
    "trainer.ema_decay=0.8",
    "trainer.clip_norm=0.5",
    "trainer.checkpoint_every=2st",
)
SHARDED = (*OPTIONS, "performance.strategy=fsdp")


@pytest.fixture(scope="module")
def whole(group, plain, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, group.run(1, train, plain(*OPTIONS), data, folder, systems.linear)[0]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_sharded_on_two_workers_is_the_same_training(group, plain, data, tmp_path, whole, accumulate):
    """30 validation rows by 7: the second rank has one batch less, and takes part in the other's all the same."""
    found = group.run(2, train, plain(*SHARDED, f"trainer.accumulate={accumulate}"), data, tmp_path, systems.linear)
    for result in found:
        assert_same_weights(result["weights"], whole[1]["weights"], 2e-6)
    for name in ("loss", "gradient_norm"):
        assert records(found[0], "step", name) == pytest.approx(records(whole[1], "step", name), abs=1e-5)
    assert records(found[0], "epoch", "validation/loss") == pytest.approx(records(whole[1], "epoch", "validation/loss"), abs=1e-5)


def test_a_worker_holds_half_of_a_sharded_model(group, plain, data, tmp_path):
    """Weights, gradients and both moments of Adam: 1,091 numbers, of which a worker has half (3 outputs are dealt 2 and 1)."""
    held = group.run(2, systems.numbers_held, plain(*SHARDED), data, tmp_path)
    assert sum(h["weights"] for h in held) == sum(h["moments"] for h in held) == 64 * 16 + 16 + 16 * 3 + 3
    assert all(h["weights"] < 600 for h in held)


@pytest.mark.parametrize(("before", "after"), [("fsdp", "ddp"), ("ddp", "fsdp"), ("fsdp", "fsdp")])
def test_a_checkpoint_has_one_form_whatever_wrote_it(group, plain, data, tmp_path, whole, before, after):
    group.run(2, train, plain(*OPTIONS, f"performance.strategy={before}"), data, tmp_path, systems.linear, 5)
    found = group.run(2, train, plain(*OPTIONS, f"performance.strategy={after}"), data, tmp_path, systems.linear)
    assert_same_weights(found[0]["weights"], whole[1]["weights"], 2e-6)
    folder = Checkpoints(tmp_path / "checkpoints").path("latest")
    assert_same_weights(
        systems.weights_of(folder / "ema.safetensors"), systems.weights_of(whole[0] / "checkpoints/step_00000012/ema.safetensors"), 2e-6
    )
    ours, other = load_state(folder), load_state(whole[0] / "checkpoints" / "step_00000012")
    for mine, its in zip(ours["optimizers"]["main"]["state"].values(), other["optimizers"]["main"]["state"].values(), strict=True):
        torch.testing.assert_close(mine["exp_avg"], its["exp_avg"], rtol=0.0, atol=1e-5)


def test_a_compiled_model_trains_the_same_and_is_saved_under_plain_names(group, plain, data, tmp_path, whole):
    found = group.run(2, train, plain(*OPTIONS, "performance.compile=true"), data, tmp_path, systems.linear)
    assert_same_weights(found[0]["weights"], whole[1]["weights"], 1e-5)
    load_weights(Checkpoints(tmp_path / "checkpoints").path("latest"), systems.linear_start())  # strict


def test_activations_computed_twice_give_the_same_gradients_to_the_bit(group, plain, data, tmp_path, whole):
    spec = plain(*OPTIONS, "performance.recompute=['1']")
    (found,) = group.run(1, train, spec, data, tmp_path, systems.linear)
    assert_same_weights(found["weights"], whole[1]["weights"])
    with pytest.raises(UserError, match=r"performance\.recompute matches no module"):
        group.run(1, train, plain(*OPTIONS, "performance.recompute=[encoder]"), data, tmp_path / "no", systems.linear)


def test_recomputing_runs_the_forward_pass_a_second_time(group, plain, data, tmp_path):
    calls = [group.run(1, systems.forward_passes, plain(*o), data, tmp_path / str(len(o)))[0] for o in ((), ("performance.recompute=['1']",))]
    assert calls == [1, 2]


def test_channels_last_changes_the_layout_and_not_the_numbers(group, plain, data, tmp_path):
    one, other = [
        group.run(1, train, plain("trainer.duration=1ep", f"performance.channels_last={last}"), data, tmp_path / last, systems.convolutional)[0]
        for last in ("false", "true")
    ]
    assert_same_weights(other["weights"], one["weights"], 1e-6)
    (strides,) = group.run(1, systems.layout_of_weights_and_inputs, plain("performance.channels_last=true"), data, tmp_path / "layout")
    assert strides == [True, True]


def test_deterministic_mode_is_on_for_the_job_and_off_after_it(plain, data, tmp_path):
    from components.training.determinism import deterministic

    with deterministic(wanted=True):
        assert torch.are_deterministic_algorithms_enabled() and not torch.backends.cudnn.benchmark
        with pytest.raises(RuntimeError, match="deterministic"):
            nn.functional.max_unpool2d(torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1, dtype=torch.int64), 2)
    assert not torch.are_deterministic_algorithms_enabled()
    with deterministic(wanted=False):
        assert not torch.are_deterministic_algorithms_enabled()


def test_half_precision_and_sharding_exclude_each_other(plain):
    with pytest.raises(UserError, match=r"performance\.strategy=fsdp does not train in fp16"):
        plain(*SHARDED, "trainer.precision=fp16")


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_running_means_are_rank_0_s_whether_averaged_or_not_and_survive_an_interruption(group, plain, data, tmp_path, strategy):
    """Batch normalisation on two workers, its statistics averaged too: what is validated is what is saved, and resuming changes no bit."""
    options = ("trainer.batch_size=18", "trainer.duration=2ep", "trainer.ema_decay=0.5", "trainer.checkpoint_every=1st")
    spec = plain(*options, f"performance.strategy={strategy}", "optimizer.lr=0.01")
    whole = group.run(2, train, spec, data, tmp_path / "whole", systems.normalised)
    latest = Checkpoints(tmp_path / "whole" / "checkpoints").path("latest")
    (found,) = group.run(1, systems.evaluate_checkpoint, plain(*options), data, latest, systems.normalised, "ema.safetensors")
    assert found["validation/loss"] == pytest.approx(records(whole[0], "epoch", "validation/loss")[-1], rel=1e-6)
    group.run(2, train, spec, data, tmp_path / "cut", systems.normalised, 5)
    resumed = group.run(2, train, spec, data, tmp_path / "cut", systems.normalised)
    for file in ("model", "ema"):
        assert_same_weights(*(systems.weights_of(tmp_path / d / f"checkpoints/step_00000006/{file}.safetensors") for d in ("whole", "cut")))
    assert records(resumed[0], "epoch", "validation/loss") == records(whole[0], "epoch", "validation/loss")
