"""Interrupted and run again equals never interrupted, to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from components.errors import UserError
from components.files import read_json
from components.training import journal
from components.training.checkpoint import Checkpoints, verify
from tests.training import systems
from tests.training.systems import train

OPTIONS = ("optimizer=adamw", "schedule=cosine", "trainer.log_every_steps=4", "trainer.epochs=4")
TIMES = {"seconds", "samples_per_second"}


def figures(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The journal but for times, and for the events that tell of each start."""
    return [{k: v for k, v in r.items() if k not in TIMES} for r in result["journal"] if r["kind"] != "event"]


def weights(directory: Path, pointer: str) -> str:
    return verify(Checkpoints(directory / "checkpoints").path(pointer))["files"]["model.safetensors"]["sha256"]


@pytest.fixture(scope="module")
def whole(group, plain, data, tmp_path_factory):
    """Uninterrupted trainings of a model with dropout (it draws from torch's own generator) on 1 and 2 workers."""
    folder = tmp_path_factory.mktemp("whole")
    return {w: (folder / str(w), group.run(w, train, plain(*OPTIONS), data, folder / str(w), systems.dropout)[0]) for w in (1, 2)}


@pytest.mark.parametrize("stop_at", [3, 6, 15], ids=["before any checkpoint", "right after one", "in the middle of an epoch"])
@pytest.mark.parametrize("world", [1, 2])
def test_an_interrupted_run_continues_as_if_nothing_had_been(group, plain, data, tmp_path, whole, world, stop_at):
    folder, uninterrupted = whole[world]
    (stopped, *_) = group.run(world, train, plain(*OPTIONS), data, tmp_path, systems.dropout, stop_at)
    assert stopped["summary"] is None and len(figures(stopped)) < len(figures(uninterrupted))
    (resumed, *_) = group.run(world, train, plain(*OPTIONS), data, tmp_path, systems.dropout)
    assert figures(resumed) == figures(uninterrupted)
    assert [weights(tmp_path, p) for p in ("best", "last")] == [weights(folder, p) for p in ("best", "last")]
    assert resumed["summary"]["best"] == uninterrupted["summary"]["best"]
    starts = [r["step"] for r in resumed["journal"] if r["kind"] == "event"]
    assert starts == [0, stop_at // 6 * 6]


def test_interrupted_again_and_again(group, plain, data, tmp_path, whole):
    folder, uninterrupted = whole[1]
    for stop_at in (2, 8, 9, 14, 23):
        group.run(1, train, plain(*OPTIONS), data, tmp_path, systems.dropout, stop_at)
    (resumed,) = group.run(1, train, plain(*OPTIONS), data, tmp_path, systems.dropout)
    assert figures(resumed) == figures(uninterrupted) and weights(tmp_path, "last") == weights(folder, "last")


@pytest.mark.parametrize("ending", [("trainer.max_steps=8",), ("trainer.patience_epochs=1", "optimizer.lr=1e-30")])
def test_a_finished_run_that_is_started_again_makes_no_step_more(group, plain, data, tmp_path, ending):
    """Killed after its last checkpoint and before the store took it: the second run has nothing to do but to say so."""
    spec = plain(*OPTIONS, *ending)
    (first,) = group.run(1, train, spec, data, tmp_path, systems.dropout)
    before = weights(tmp_path, "last"), weights(tmp_path, "best")
    (second,) = group.run(1, train, spec, data, tmp_path, systems.dropout)
    assert (weights(tmp_path, "last"), weights(tmp_path, "best")) == before
    assert figures(second) == figures(first)
    for name in ("steps", "epochs", "best", "stopped"):
        assert second["summary"][name] == first["summary"][name]


def test_early_stopping_remembers_how_long_it_has_waited(group, plain, data, tmp_path):
    spec = plain(*OPTIONS, "trainer.patience_epochs=2", "trainer.epochs=9", "optimizer.lr=1e-30")
    group.run(1, train, spec, data, tmp_path, systems.linear, 13)  # one epoch without a better one is behind it
    (resumed,) = group.run(1, train, spec, data, tmp_path, systems.linear)
    assert resumed["summary"]["stopped"].startswith("no better") and resumed["summary"]["epochs"] == 3


def test_each_worker_gets_its_own_carry_back(group, plain, data, tmp_path):
    whole = group.run(2, train, plain(*OPTIONS), data, tmp_path / "whole", systems.carrying)
    group.run(2, train, plain(*OPTIONS), data, tmp_path / "cut", systems.carrying, 15)
    resumed = group.run(2, train, plain(*OPTIONS), data, tmp_path / "cut", systems.carrying)
    seen = [int(r["carry"]["seen"]) for r in whole]
    assert seen[0] != seen[1] and [int(r["carry"]["seen"]) for r in resumed] == seen


def test_a_checkpoint_with_a_flipped_byte_is_refused(group, plain, data, tmp_path):
    group.run(1, train, plain(*OPTIONS), data, tmp_path, systems.linear, 15)
    path = Checkpoints(tmp_path / "checkpoints").path("last") / "state.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"state\.pt is not what was saved"):
        group.run(1, train, plain(*OPTIONS), data, tmp_path, systems.linear)
    assert journal.read(tmp_path / "metrics.jsonl")[-1]["step"] == 12  # the refused run has written nothing


def test_another_model_s_checkpoint_is_refused(group, plain, data, tmp_path):
    group.run(1, train, plain(*OPTIONS), data, tmp_path, systems.linear, 7)
    with pytest.raises(UserError, match="does not fit the model"):
        group.run(1, train, plain(*OPTIONS), data, tmp_path, systems.normalised)


def test_the_meta_tells_where_it_stands(whole):
    folder, result = whole[2]
    meta = read_json(Checkpoints(folder / "checkpoints").path("last") / "meta.json")
    assert (meta["step"], meta["epoch"], meta["world"], meta["stopped"]) == (24, 4, 2, "all steps made")
    assert meta["metrics"]["train/loss"] == [r for r in result["journal"] if r["kind"] == "epoch"][-1]["train/loss"]
