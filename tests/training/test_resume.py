"""Interrupted and run again equals never interrupted, to the bit; on other numbers of workers, to the last digits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from components.errors import UserError
from components.files import digest, read_json
from components.training import journal
from components.training.checkpoint import Checkpoints, verify
from components.training.plain_state import load_state
from tests.training import systems
from tests.training.systems import train
from tests.training.test_loop import assert_same_weights

OPTIONS = (
    "optimizer=adamw",
    "schedule=cosine",
    "trainer.log_every_steps=4",
    "trainer.duration=4ep",
    "trainer.accumulate=2",
    "trainer.checkpoint_every=2st",
    "trainer.ema_decay=0.8",
)
SYSTEMS = {
    "classifier": (systems.dropout, ()),  # torch's own dropout: it draws from the generator of its rank
    "GAN": (systems.gan, ("trainer.monitor.metric=validation/score",)),
    "LSTM with state": (systems.recurrent, ("trainer.order=contiguous", "optimizer.lr=0.02")),
}
TIMES = {"seconds", "samples_per_second", "step_seconds", "data_wait_share", "eta_seconds", "peak_memory_gib", "rank_step_seconds"}
# 41 rows by 8: six steps an epoch. Checkpoints lie at every second step, and at 6, 12, 18 after the validation.
STOPS = {"before any checkpoint": (1, 0), "at an epoch's end": (6, 0), "in the middle of an epoch": (15, 0), "between two micro-batches": (16, 1)}


def figures(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The journal but for times, for the events that tell of each start, and for the watch, which begins anew."""
    return [{k: v for k, v in r.items() if k not in TIMES and not k.startswith("watch/")} for r in result["journal"] if r["kind"] != "event"]


def weights(directory: Path, pointer: str) -> dict[str, Any]:
    files = verify(Checkpoints(directory / "checkpoints").path(pointer))["files"]
    return {name: files[name] for name in files if name.endswith(".safetensors")}


@pytest.fixture(scope="module")
def whole(group, plain, data, tmp_path_factory):
    """Uninterrupted trainings of every system on 1 and 2 workers."""
    folder, runs = tmp_path_factory.mktemp("whole"), {}
    for name, (system, options) in SYSTEMS.items():
        for world in (1, 2):
            where = folder / f"{name}{world}"
            runs[name, world] = (where, group.run(world, train, plain(*OPTIONS, *options), data, where, system))
    return runs


@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.parametrize("name", SYSTEMS)
def test_an_interrupted_run_continues_as_if_nothing_had_been(group, plain, data, tmp_path, whole, name, world, stop):
    (system, options), (folder, uninterrupted) = SYSTEMS[name], whole[name, world]
    spec = plain(*OPTIONS, *options)
    stopped = group.run(world, train, spec, data, tmp_path, system, *STOPS[stop])
    assert all(r["summary"] is None for r in stopped)
    resumed = group.run(world, train, spec, data, tmp_path, system)
    assert figures(resumed[0]) == figures(uninterrupted[0])
    for pointer in ("best", "latest"):
        assert weights(tmp_path, pointer) == weights(folder, pointer)
    assert resumed[0]["summary"]["best"] == uninterrupted[0]["summary"]["best"]
    last, other = [load_state(Checkpoints(d / "checkpoints").path("latest")) for d in (tmp_path, folder)]
    assert str(last["optimizers"]) == str(other["optimizers"]) and str(last["ranks"]) == str(other["ranks"])
    starts = [r["step"] for r in resumed[0]["journal"] if r.get("name") == "start"]
    assert starts == [0, STOPS[stop][0] // 2 * 2]


def test_interrupted_again_and_again(group, plain, data, tmp_path, whole):
    folder, (uninterrupted,) = whole["classifier", 1]
    for stop_at in (2, 8, 9, 14, 23):
        group.run(1, train, plain(*OPTIONS), data, tmp_path, systems.dropout, stop_at)
    (resumed,) = group.run(1, train, plain(*OPTIONS), data, tmp_path, systems.dropout)
    assert figures(resumed) == figures(uninterrupted) and weights(tmp_path, "latest") == weights(folder, "latest")


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 3), (3, 2)])
@pytest.mark.parametrize("name", ["linear", "LSTM with state"])
def test_another_number_of_workers_goes_on_with_the_same_global_batches(group, plain, data, tmp_path, name, before, after):
    """Interrupted in the middle of an epoch; neither system draws from the generator of a rank, so all the rest must agree."""
    system, options = SYSTEMS.get(name, (systems.linear, ()))
    spec = plain(*OPTIONS[1:], *options)  # SGD: Adam's division makes more of the last digits
    (expected,) = group.run(1, train, spec, data, tmp_path / "whole", system)
    group.run(before, train, spec, data, tmp_path / "cut", system, 15)
    resumed = group.run(after, train, spec, data, tmp_path / "cut", system)
    for result in resumed:
        assert_same_weights(result["weights"], expected["weights"], 1e-6)
    losses = [[r["loss"] for r in result["journal"] if r["kind"] == "step"] for result in (resumed[0], expected)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


@pytest.mark.parametrize("after", [1, 3])
def test_after_a_change_of_workers_every_sample_is_visited_once(group, plain, data, tmp_path, after):
    """`carrying` adds up the sample ids that each place has seen since the epoch began, across the interruption."""
    spec = plain(*OPTIONS)
    group.run(2, train, spec, data, tmp_path, systems.carrying, 15)  # its last checkpoint stands at step 14, two steps into the third epoch
    finished = group.run(after, train, {**spec, "trainer": {**spec["trainer"], "duration": "17st"}}, data, tmp_path, systems.carrying)
    seen = sum(int(carry["seen"].sum()) for result in finished for carry in result["carry"])
    order = systems.order_of(data, spec, epoch=2)
    assert seen == sum(order[:40])  # five batches of eight, each row once


@pytest.mark.parametrize("ending", [("trainer.duration=8st",), ("trainer.patience=1ep", "optimizer.lr=1e-30")])
def test_a_finished_run_that_is_started_again_makes_no_step_more(group, plain, data, tmp_path, ending):
    """Killed after its last checkpoint and before the store took it: the second run has nothing to do but to say so."""
    spec = plain(*OPTIONS, *ending)
    (first,) = group.run(1, train, spec, data, tmp_path, systems.dropout)
    before = weights(tmp_path, "latest"), weights(tmp_path, "best")
    (second,) = group.run(1, train, spec, data, tmp_path, systems.dropout)
    assert (weights(tmp_path, "latest"), weights(tmp_path, "best")) == before
    assert figures(second) == figures(first)
    for name in ("steps", "epochs", "best", "stopped"):
        assert second["summary"][name] == first["summary"][name]


def test_early_stopping_remembers_how_long_it_has_waited(group, plain, data, tmp_path):
    spec = plain(*OPTIONS, "trainer.patience=2ep", "trainer.duration=9ep", "optimizer.lr=1e-30")
    group.run(1, train, spec, data, tmp_path, systems.linear, 13)  # one epoch without a better one is behind it
    (resumed,) = group.run(1, train, spec, data, tmp_path, systems.linear)
    assert resumed["summary"]["stopped"].startswith("no better") and resumed["summary"]["epochs"] == 3


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_after_a_flipped_byte_the_run_goes_on_from_the_checkpoint_before_and_ends_the_same(group, plain, data, tmp_path, whole):
    folder, (uninterrupted,) = whole["classifier", 1]
    group.run(1, train, plain(*OPTIONS), data, tmp_path, systems.dropout, 15)
    flip(tmp_path / "checkpoints" / "step_00000014" / "state.safetensors")
    (resumed,) = group.run(1, train, plain(*OPTIONS), data, tmp_path, systems.dropout)
    assert [r["step"] for r in resumed["journal"] if r.get("name") == "start"][1] < 14
    assert figures(resumed) == figures(uninterrupted) and weights(tmp_path, "latest") == weights(folder, "latest")


def test_where_every_checkpoint_is_damaged_nothing_is_begun_anew(group, plain, data, tmp_path):
    group.run(1, train, plain(*OPTIONS), data, tmp_path, systems.linear, 15)
    for state in (tmp_path / "checkpoints").glob("step_*/state.safetensors"):
        flip(state)
    with pytest.raises(UserError, match=r"state\.safetensors is not what was saved"):
        group.run(1, train, plain(*OPTIONS), data, tmp_path, systems.linear)
    assert journal.read(tmp_path / "metrics.jsonl")[-1]["step"] == 12  # the refused run has written nothing


def test_another_model_s_checkpoint_is_refused(group, plain, data, tmp_path):
    group.run(1, train, plain(*OPTIONS), data, tmp_path, systems.linear, 7)
    with pytest.raises(UserError, match="does not fit the model"):
        group.run(1, train, plain(*OPTIONS), data, tmp_path, systems.normalised)


def test_the_meta_tells_where_it_stands_and_where_it_comes_from(whole):
    folder, (result, *_) = whole["classifier", 2]
    meta = read_json(Checkpoints(folder / "checkpoints").path("latest") / "meta.json")
    assert (meta["step"], meta["epoch"], meta["samples"], meta["world"], meta["stopped"]) == (24, 4, 0, 2, "all steps made")
    assert meta["metrics"]["train/loss"] == [r for r in result["journal"] if r["kind"] == "epoch"][-1]["train/loss"]
    assert meta["value"] == meta["metrics"]["validation/loss"] and meta["weights"] == "ema.safetensors"
    assert meta["origin"] == {"code": "abc"} and meta["spec"]["trainer"]["batch_size"] == 8
    assert len(meta["data_sha256"]) == 64 and meta["spec_digest"] == digest(meta["spec"]) and set(meta["versions"]) == {"python", "torch", "numpy"}
