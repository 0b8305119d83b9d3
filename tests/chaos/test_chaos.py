"""kill -9, again and again: a choice of the matrix's cells (`make chaos` plays all of them), cheap enough for every day.

One run is killed in each of its stages, one after the other, and ends as the undisturbed one did.
"""

from __future__ import annotations

import pytest

from tests.chaos.crowd import crowd
from tests.chaos.matrix import CELLS, COMMAND, SETTINGS
from tests.chaos.play import arenas
from tests.chaos.verdict import Facts, complaints, finished_stages, sound

# In the order in which one run comes by; under Ray a driver is killed in tests/flows/test_interrupt.py.
LINKS = (
    "fetch during driver inline",
    "prepare done driver inline",
    "train half driver inline",
    "train unpointed driver inline",
    "evaluate during driver inline",
    "report done driver inline",
)
BY_NAME = {cell.name: cell for cell in CELLS}


@pytest.fixture(scope="module")
def played(prefect_server):
    """An arena with an undisturbed run's facts, put back to nothing."""
    with arenas(1, prefect_server["PREFECT_API_URL"]) as (arena,):
        ran = arena.attempt(*COMMAND, *SETTINGS["inline"])
        assert ran.code == 0, ran.output
        facts = Facts.of(arena.root, ran.result)
        arena.put_back(None)
        yield arena, facts


def test_undisturbed_each_step_and_epoch_is_there_once(played):
    _, facts = played
    assert list(sound(facts)) == []


@pytest.mark.parametrize("name", LINKS)
def test_the_run_is_killed(played, name):
    arena, _ = played
    cell = BY_NAME[name]
    ended = arena.attempt(*COMMAND, *SETTINGS[cell.setting], fault=(cell.step, cell.victim))
    assert ended.killed and ended.code == -9, ended.output


def test_and_ends_as_if_it_had_not_been(played):
    arena, facts = played
    finished = finished_stages(arena.root / "store")
    assert finished == {"data", "check", "train", "evaluate", "report"}
    assert list(complaints(arena, facts, finished, arena.attempt(*COMMAND, *SETTINGS["inline"]))) == []


def test_two_pipelines_at_once_run_every_stage_once(played):
    arena, _ = played
    assert list(crowd(arena, 2, timeout_seconds=240)) == []
