"""The profile's files: written once, whole, by the first rank, of exactly the steps that were asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from components.training.profile import Profile


def make_steps(profile: Profile, count: int) -> None:
    """A linear layer, forward and backward."""
    model, inputs = nn.Linear(4, 3), torch.ones(2, 4)
    for _ in range(count):
        model(inputs).tanh().sum().backward()
        profile.step()


def events(directory: Path, name: str) -> list[dict[str, Any]]:
    return [e for e in json.loads((directory / "trace.json").read_text())["traceEvents"] if e.get("name") == name]


@pytest.fixture(scope="module")
def profiled(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("profile")
    with Profile(directory, 2) as profile:
        make_steps(profile, 8)
    return directory


def test_the_table_names_the_model_s_operators(profiled):
    table = (profiled / "profile.txt").read_text()
    assert all(name in table for name in ("aten::addmm", "aten::tanh", "AddmmBackward0", "TanhBackward0"))


def test_the_table_counts_the_steps_asked_for(profiled):
    """Two steps with one linear layer each."""
    (row,) = [line for line in (profiled / "profile.txt").read_text().splitlines() if line.split()[:1] == ["aten::addmm"]]
    assert row.split()[-1] == "2"


def test_the_trace_has_the_steps_asked_for(profiled):
    assert len(events(profiled, "aten::addmm")) == 2
    numbers = {e["name"] for e in json.loads((profiled / "trace.json").read_text())["traceEvents"] if str(e.get("name")).startswith("ProfilerStep#")}
    assert numbers == {"ProfilerStep#3", "ProfilerStep#4"}  # step 0 is left out, 1 and 2 warm up


def test_nothing_else_lies_there(profiled):
    assert sorted(p.name for p in profiled.iterdir()) == ["profile.txt", "trace.json"]


def test_files_are_there_as_soon_as_the_last_step_has_ended(tmp_path):
    with Profile(tmp_path, 1) as profile:
        make_steps(profile, 2)
        assert not list(tmp_path.iterdir())
        make_steps(profile, 1)
        assert sorted(p.name for p in tmp_path.iterdir()) == ["profile.txt", "trace.json"]
        written = (tmp_path / "trace.json").stat().st_mtime_ns
        make_steps(profile, 6)
    assert (tmp_path / "trace.json").stat().st_mtime_ns == written


def test_a_run_that_ends_within_the_profile_keeps_what_there_is(tmp_path):
    with pytest.raises(RuntimeError, match="stopped"), Profile(tmp_path, 2) as profile:
        make_steps(profile, 4)  # 1 left out, 2 of warm-up, 1 recorded
        raise RuntimeError("stopped")
    assert len(events(tmp_path, "aten::addmm")) == 1


def test_a_run_that_ends_before_the_profile_writes_nothing(tmp_path):
    with Profile(tmp_path, 5) as profile:
        make_steps(profile, 3)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("steps", "rank"), [(0, 0), (2, 1)], ids=["no steps", "another rank"])
def test_nobody_else_records(tmp_path, steps, rank, monkeypatch):
    monkeypatch.setattr("components.training.profile.profile", lambda **_: pytest.fail("a profiler was made"))
    with Profile(tmp_path, steps, rank) as profile:
        make_steps(profile, 8)
    assert not list(tmp_path.iterdir())
