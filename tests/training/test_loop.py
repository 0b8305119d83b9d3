"""The loop is exact: against a loop written by hand, on one, two and three workers, at each of its switches."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from components.data.dataset import ShardDataset
from components.data.draws import Draws
from components.data.sampling import epoch_batches
from components.errors import RunError, UserError
from components.files import read_json
from components.training import checkpoint
from components.training.checkpoint import Checkpoints
from components.training.plain_state import load_state
from tests.training import systems
from tests.training.systems import train

STEPS = 24  # 4 epochs of 6


def records(result: dict[str, Any], kind: str, name: str) -> list[Any]:
    return [r[name] for r in result["journal"] if r["kind"] == kind]


def assert_same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], tolerance: float = 0.0) -> None:
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=0.0, atol=tolerance, msg=lambda text, name=name: f"{name}: {text}")


@pytest.fixture(scope="module")
def runs(group, plain, data, tmp_path_factory):
    """The same training on 1, 2 and 3 workers: every rank's result."""
    spec = plain("schedule=cosine", "schedule.warmup=0.25dur")
    folder = tmp_path_factory.mktemp("worlds")
    return {world: group.run(world, train, spec, data, folder / str(world), systems.linear) for world in (1, 2, 3)}


def by_hand(data: Path, optimizer_of, *, epochs: int, batch_size: int, rate=lambda step: None):
    """A plain loop: no Loop, no Inputs, no task. Returns the model, the mean loss of each step and its gradient before the update."""
    dataset = ShardDataset(data, "train")
    statistics = dataset.card.statistics["inputs"]
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 3))
    optimizer = optimizer_of(model.parameters())
    losses, gradients = [], []
    for epoch in range(epochs):
        for part in epoch_batches(dataset.rows, batch_size, seed=0, epoch=epoch, rank=0, world=1):
            batch = dataset.fetch(part.indices)
            offsets = Draws(0, epoch, batch["sample_id"]).integers("random_shift", -1, 2, 2)
            images = torch.zeros(len(offsets), 1, 8, 8)
            for image, raw, (down, right) in zip(images, batch["inputs"], offsets.tolist(), strict=True):
                image[0, max(0, down) : 8 + min(0, down), max(0, right) : 8 + min(0, right)] = raw[
                    0, max(0, -down) : 8 + min(0, -down), max(0, -right) : 8 + min(0, -right)
                ]
            loss = nn.functional.cross_entropy(model((images - statistics.mean[0]) / statistics.std[0]), batch["targets"])
            optimizer.zero_grad()
            loss.backward()
            gradients.append([p.grad.clone() for p in model.parameters()])
            for group in optimizer.param_groups:
                group["lr"] = rate(len(losses)) or group["lr"]
            optimizer.step()
            losses.append(loss.item())
    return model, losses, gradients


def test_a_loop_written_by_hand_gives_the_same_losses_and_weights(group, plain, data, tmp_path):
    spec = plain("optimizer=adamw", "optimizer.lr=0.01", "schedule=constant", "trainer.duration=2ep")
    (ours,) = group.run(1, train, spec, data, tmp_path, systems.linear)
    model, losses, _ = by_hand(data, lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.01), epochs=2, batch_size=8)
    assert records(ours, "step", "loss") == pytest.approx(losses, rel=1e-6)
    assert_same_weights(ours["weights"], model.state_dict(), 1e-6)
    assert records(ours, "epoch", "train/loss") == pytest.approx([sum(losses[:6]) / 6, sum(losses[6:]) / 6])


def test_the_number_of_workers_changes_nothing_but_the_last_digits(runs, data):
    """41 rows by 8: the last batch of each epoch has one row, so the second and third worker take a stand-in that must not count."""
    model, losses, _ = by_hand(
        data,
        lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4),
        epochs=4,
        batch_size=8,
        rate=lambda step: 0.05 * ((step + 1) / 6 if step < 6 else 0.5 * (1 + math.cos(math.pi * (step - 6) / 18))),
    )
    for world, ranks in runs.items():
        assert len(ranks) == world and ranks[0]["summary"]["workers"] == world
        assert records(ranks[0], "step", "loss") == pytest.approx(losses, abs=1e-6)
        for result in ranks:
            assert_same_weights(result["weights"], model.state_dict(), 1e-6)
            assert_same_weights(result["weights"], ranks[0]["weights"])  # workers of one group: to the bit


@pytest.mark.parametrize("world", [1, 2])
def test_the_gradient_of_an_uneven_last_batch_is_the_mean_over_its_rows(group, plain, data, tmp_path, world):
    """One step of plain SGD over 38 rows and one over the 3 that are left, rate 1: the weights move by the mean gradients."""
    options = ["optimizer.lr=1.0", "optimizer.momentum=0.0", "optimizer.nesterov=false", "optimizer.weight_decay=0.0"]
    spec = plain("schedule=constant", "trainer.duration=1ep", "trainer.batch_size=38", *options)
    one = {**spec, "trainer": {**spec["trainer"], "duration": "1st"}}
    first, second = [group.run(world, train, s, data, tmp_path / str(i), systems.linear)[0] for i, s in enumerate((one, spec))]
    _, _, gradients = by_hand(data, lambda p: torch.optim.SGD(p, lr=1.0), epochs=1, batch_size=38)
    moved = [a - b for a, b in zip(first["weights"].values(), second["weights"].values(), strict=True)]
    for step, gradient in zip(moved, gradients[1], strict=True):
        torch.testing.assert_close(step, gradient, rtol=1e-5, atol=1e-6)


def test_learning_rates_are_the_schedule_s(runs):
    rates = records(runs[1][0], "step", "learning_rate")
    assert len(rates) == STEPS
    assert rates[0] == pytest.approx(0.05 / 6)  # a quarter of 24 steps warm up
    assert rates[5] == pytest.approx(0.05) and rates[6] == pytest.approx(0.05)
    assert rates[-1] == pytest.approx(0.05 * 0.5 * (1 + math.cos(math.pi * 17 / 18)))


def test_the_journal_tells_every_step_and_epoch(runs):
    journal = runs[2][0]["journal"]
    assert journal[0] | {"kind": "event", "name": "start", "total_steps": STEPS, "steps_per_epoch": 6} == journal[0]
    assert [r["step"] for r in journal if r["kind"] == "step"] == list(range(1, STEPS + 1))
    assert [(r["step"], r["epoch"]) for r in journal if r["kind"] == "epoch"] == [(6, 1), (12, 2), (18, 3), (24, 4)]
    seconds = [r["seconds"] for r in journal]
    assert seconds == sorted(seconds)


def test_the_summary(runs):
    summary = runs[1][0]["summary"]
    assert summary["parameters"] == 64 * 16 + 16 + 16 * 3 + 3
    assert (summary["steps"], summary["epochs"], summary["stopped"]) == (STEPS, 4, "all steps made")
    losses = records(runs[1][0], "epoch", "validation/loss")
    assert losses[-1] < losses[0]  # it learns
    best = min(range(4), key=losses.__getitem__)
    assert summary["best"] == {"metric": "validation/loss", "value": losses[best], "step": 6 * (best + 1)}


def test_records_of_several_steps_hold_their_mean(group, plain, data, tmp_path, runs):
    spec = plain("schedule=cosine", "schedule.warmup=0.25dur", "trainer.log_every_steps=4", "trainer.duration=4ep")
    (coarse,) = group.run(1, train, spec, data, tmp_path, systems.linear)
    fine = records(runs[1][0], "step", "loss")
    ends = records(coarse, "step", "step")
    assert ends == [4, 6, 8, 12, 16, 18, 20, 24]  # every four steps, and what is left of an epoch
    for start, end, loss in zip([0, *ends], ends, records(coarse, "step", "loss"), strict=False):
        assert loss == pytest.approx(sum(fine[start:end]) / (end - start))
    assert records(coarse, "epoch", "train/loss") == pytest.approx(records(runs[1][0], "epoch", "train/loss"))


@pytest.mark.parametrize("world", [1, 2])
def test_clipping_is_by_the_norm_of_the_whole_gradient(group, plain, data, tmp_path, world):
    options = ["optimizer.lr=1.0", "optimizer.momentum=0.0", "optimizer.nesterov=false", "optimizer.weight_decay=0.0"]
    spec = plain("schedule=constant", "trainer.duration=1st", "trainer.clip_norm=0.01", *options)
    result = group.run(world, train, spec, data, tmp_path, systems.linear)[0]
    _, _, gradients = by_hand(data, lambda p: torch.optim.SGD(p, lr=1.0), epochs=1, batch_size=8)
    norm = math.sqrt(sum(float(g.double().square().sum()) for g in gradients[0]))
    assert norm > 0.01
    assert records(result, "step", "gradient_norm") == [pytest.approx(norm, rel=1e-5)]
    torch.manual_seed(0)
    start = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 3))
    for before, after, gradient in zip(start.parameters(), result["weights"].values(), gradients[0], strict=True):
        torch.testing.assert_close(before - after, gradient * 0.01 / norm, rtol=1e-3, atol=1e-7)


def test_terms_have_denominators_of_their_own(group, plain, data, tmp_path):
    """Batches without a sample of the rare class divide by one; counts below one divide as they are."""
    spec = plain("schedule=constant", "trainer.batch_size=2", "trainer.duration=1ep", "optimizer.lr=1e-20")
    one, two = [group.run(world, train, spec, data, tmp_path / str(world), systems.weighted)[0] for world in (1, 2)]
    assert records(one, "step", "loss") == pytest.approx(records(two, "step", "loss"), rel=1e-6)
    dataset = ShardDataset(data, "train")
    targets = dataset.fetch(torch.arange(41).numpy())["targets"]
    _, losses, _ = by_hand(data, lambda p: torch.optim.SGD(p, lr=1e-20), epochs=1, batch_size=2)  # weights stand still
    _, each, _ = by_hand(data, lambda p: torch.optim.SGD(p, lr=1e-20), epochs=1, batch_size=1)
    order = [int(p.indices[0]) for p in epoch_batches(41, 1, 0, 0, 0, 1)]
    expected = []
    for step, mean in enumerate(losses):
        rare = [each[i] for i in range(2 * step, min(2 * step + 2, 41)) if targets[order[i]] == 2]
        expected.append(mean + sum(rare) / max(1, len(rare)))
    assert records(one, "step", "loss") == pytest.approx(expected, rel=1e-5)


def test_a_duration_in_steps_ends_a_run_in_the_middle_of_an_epoch(group, plain, data, tmp_path):
    (result,) = group.run(1, train, plain("trainer.duration=8st"), data, tmp_path, systems.linear)
    assert (result["summary"]["steps"], result["summary"]["epochs"], result["summary"]["stopped"]) == (8, 1, "all steps made")  # one whole epoch
    assert records(result, "epoch", "step") == [6, 8]
    assert result["journal"][0]["total_steps"] == 8
    assert Checkpoints(tmp_path / "checkpoints").path("latest").name == "step_00000008"


def test_early_stopping_waits_its_patience_out(group, plain, data, tmp_path):
    """The weights stand still, so the first epoch stays the best: two more epochs, then the end."""
    spec = plain("trainer.patience=2ep", "trainer.duration=9ep", "optimizer.lr=1e-30")
    (result,) = group.run(1, train, spec, data, tmp_path, systems.linear)
    assert result["summary"]["stopped"] == "no better validation/loss for 2ep"
    assert result["summary"]["epochs"] == 3 and result["summary"]["best"]["step"] == 6
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert (checkpoints.path("best").name, checkpoints.path("latest").name) == ("step_00000006", "step_00000018")


def test_the_monitor_may_look_upwards_and_must_be_there(group, plain, data, tmp_path):
    spec = plain("trainer.monitor={metric: validation/accuracy, mode: max}", "optimizer.lr=0.01")
    (result,) = group.run(1, train, spec, data, tmp_path, systems.linear)
    assert result["summary"]["best"]["value"] == max(records(result, "epoch", "validation/accuracy"))
    with pytest.raises(UserError, match=r"trainer\.monitor\.metric") as caught:
        group.run(1, train, plain("trainer.monitor.metric=validation/acuracy"), data, tmp_path / "other", systems.linear)
    assert "validation/accuracy" in str(caught.value) and "train/loss" in str(caught.value)


def test_a_loss_that_is_no_number_ends_the_run_and_leaves_the_last_checkpoint(group, plain, data, tmp_path):
    with pytest.raises(RunError, match="a number is not finite in step 8"):
        group.run(2, train, plain(), data, tmp_path, systems.poisoned)
    last = Checkpoints(tmp_path / "checkpoints").path("latest")
    assert last.name == "step_00000006"
    meta = checkpoint.verify(last)
    assert math.isfinite(meta["metrics"]["validation/loss"])
    assert load_state(last)["optimizers"]["main"]["state"][0]["momentum_buffer"].isfinite().all()


def test_overfitting_one_batch_succeeds_with_a_sound_model(group, plain, data, tmp_path):
    spec = plain("debug=overfit", "trainer.duration=200ep", "optimizer=adamw", "optimizer.lr=0.02", "trainer.log_every_steps=20")
    (result,) = group.run(1, train, spec, data, tmp_path, systems.linear)
    assert result["summary"]["stopped"] == "the loss of one batch fell below 0.01"
    assert result["summary"]["steps"] < 200 and records(result, "epoch", "train/loss")[-1] < 0.01


def test_overfitting_one_batch_fails_with_a_model_that_cannot(group, plain, data, tmp_path):
    spec = plain("debug=overfit", "trainer.duration=15ep", "trainer.log_every_steps=20")
    with pytest.raises(RunError, match=r"cannot overfit one batch.* after 15 steps"):
        group.run(1, train, spec, data, tmp_path / "almost", systems.almost_frozen)
    with pytest.raises(RunError, match=r"cannot overfit one batch.* after 15 steps"):  # the same command again says the same
        group.run(1, train, spec, data, tmp_path / "almost", systems.almost_frozen)
    for world in (1, 2):
        with pytest.raises(RunError, match="every parameter of its network 'model' is frozen"):
            group.run(world, train, spec, data, tmp_path / "frozen", systems.frozen)


def test_bfloat16_trains(group, plain, data, tmp_path, runs):
    spec = plain("schedule=cosine", "schedule.warmup=0.25dur", "trainer.precision=bf16")
    (result,) = group.run(1, train, spec, data, tmp_path, systems.linear)
    losses, exact = records(result, "step", "loss"), records(runs[1][0], "step", "loss")
    assert losses != exact and losses == pytest.approx(exact, abs=0.05)
    assert all(v.dtype == torch.float32 for v in result["weights"].values())


def test_what_is_validated_is_what_is_saved_though_running_means_differ_by_rank(group, plain, data, tmp_path):
    """Batch normalisation on two workers: each has running means of its own rows; rank 0's count, on both."""
    spec = plain("trainer.batch_size=18", "trainer.duration=2ep", "trainer.monitor.mode=max")
    ranks = group.run(2, train, spec, data, tmp_path, systems.normalised)
    assert_same_weights(ranks[0]["weights"], ranks[1]["weights"])
    last = Checkpoints(tmp_path / "checkpoints").path("latest")
    (found,) = group.run(1, systems.evaluate_checkpoint, spec, data, last, systems.normalised)
    journalled = read_json(last / "meta.json")["metrics"]
    assert found == {k: v for k, v in journalled.items() if k != "train/loss"}
