"""Which rank holds the others up, and a training whose time is over: for real, on two gloo ranks."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from components.errors import RunError
from components.tasks.base import Task
from components.training.deadline import Limited
from components.training.session import Session
from tests.training.systems import dropout, linear, train
from tests.training.test_resume import OPTIONS, figures, weights

SLEEP_SECONDS = 0.06


def uneven(spec: Any, card: Any, session: Session) -> tuple[nn.Module, Task]:
    """The linear classifier, on rank 1 with a layer that takes its time."""
    model, task = linear(spec, card, session)
    if session.rank == 1:
        first = next(iter(model.children()))
        first.register_forward_pre_hook(lambda module, inputs: time.sleep(SLEEP_SECONDS))
    return model, task


def limited(session: Session, plain: Any, data: Path, directory: Path, over: int) -> Any:
    """A training of which rank `over` alone finds that its time is over."""
    return train(Limited(session, 0.0 if session.rank == over else time.time() + 1000.0), plain, data, directory, dropout)


def test_the_slow_rank_is_named_though_all_take_the_same_time(group, plain, data, tmp_path):
    found = group.run(2, train, plain("trainer.duration=2ep"), data, tmp_path, uneven)[0]["journal"]
    ranks = [r["rank_step_seconds"] for r in found if r["kind"] == "epoch"]
    assert [r["slowest"] for r in ranks] == [1, 1]
    assert all(r["greatest"] >= SLEEP_SECONDS and r["mean"] == pytest.approx((r["greatest"] + r["least"]) / 2) for r in ranks)
    steps = [r["step_seconds"] for r in found if r["kind"] == "step"]
    assert min(steps[2:]) >= SLEEP_SECONDS  # rank 0's own journal: it waited for the other


def test_one_worker_alone_is_not_compared(group, plain, data, tmp_path):
    (found,) = group.run(1, train, plain("trainer.duration=1ep"), data, tmp_path, linear)
    assert not any("rank_step_seconds" in r for r in found["journal"])


def test_every_start_says_when_whose_and_on_what(group, plain, data, tmp_path):
    before = time.time()
    found = group.run(2, train, plain("trainer.duration=1ep"), data, tmp_path, linear)[0]["journal"]
    (start,) = [r for r in found if r.get("name") == "start"]
    assert before <= start["at"] <= time.time() and (start["workers"], start["device"], start["attempt"]) == (2, "cpu", None)


@pytest.mark.parametrize("world", [1, 2])
def test_a_training_whose_time_is_over_saves_and_goes_on_where_it_stood(group, plain, data, tmp_path, world):
    spec = plain(*OPTIONS)
    expected = group.run(world, train, spec, data, tmp_path / "whole", dropout)
    for step in (1, 2):  # it is over at once each time, so each attempt makes one step, whose result stays
        with pytest.raises(RunError, match=rf"the budget is spent: {step} of 24 steps are made, and saved. Raise budget.cpu_hours and run the same"):
            group.run(world, limited, spec, data, tmp_path / "cut", world - 1)
    resumed = group.run(world, train, spec, data, tmp_path / "cut", dropout)
    assert figures(resumed[0]) == figures(expected[0])
    assert weights(tmp_path / "cut", "latest") == weights(tmp_path / "whole", "latest")
    assert not any(r.get("name") == "lost" for r in resumed[0]["journal"])
