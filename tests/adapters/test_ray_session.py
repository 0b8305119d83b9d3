"""What a Ray worker hears: the driver's stop file, and a preemption that Ray has been told of."""

from __future__ import annotations

import pytest

from components.training.notices import Notice
from flows.adapters import ray_group


@pytest.fixture
def session(tmp_path, monkeypatch):
    """A session that is in no Ray worker; only its notices are asked for. `session.preemption` is what Ray's own context would hold."""
    made = object.__new__(ray_group.RaySession)
    made._leave, made._looked, made._told, made._preemption = (tmp_path / "stop", tmp_path / "resize"), 0.0, Notice.NONE, None
    clock = iter(range(1000))
    monkeypatch.setattr(ray_group.time, "monotonic", lambda: float(next(clock)))
    told = {"preemption": None}
    monkeypatch.setattr(ray_group, "_preemption_notice", lambda: told["preemption"])
    return made, told, tmp_path / "stop"


def test_nothing_is_nothing(session):
    assert [session[0].notice() for _ in range(3)] == [Notice.NONE] * 3


def test_a_preemption_is_told_once_and_the_next_one_again(session):
    made, told, _ = session
    told["preemption"] = object()
    assert [made.notice() for _ in range(3)] == [Notice.SAVE, Notice.NONE, Notice.NONE]
    told["preemption"] = object()
    assert [made.notice() for _ in range(2)] == [Notice.SAVE, Notice.NONE]


def test_the_stop_file_stays_told(session):
    made, _, stop = session
    assert made.notice() is Notice.NONE
    stop.touch()
    assert [made.notice() for _ in range(2)] == [Notice.STOP] * 2
    stop.unlink()
    assert made.notice() is Notice.STOP


def test_the_file_is_looked_for_now_and_then_only(session, monkeypatch):
    """It may lie on a network, and is asked for at every step."""
    made, _, stop = session
    times = iter([10.0, 10.1, 10.4, 10.6])
    monkeypatch.setattr(ray_group.time, "monotonic", lambda: next(times))
    assert made.notice() is Notice.NONE
    stop.touch()
    assert [made.notice() for _ in range(3)] == [Notice.NONE, Notice.NONE, Notice.STOP]
