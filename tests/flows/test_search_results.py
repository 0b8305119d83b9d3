"""A search's journal as trials and their cost: by hand."""

from __future__ import annotations

import csv

import pytest

from flows.search.cost import best_so_far, wall_seconds, work_seconds
from flows.search.results import Trial, schedule, trials, winner
from flows.search.tables import write_curves, write_trials


def event(kind, trial, at, rate=0.1, **more):
    return {"kind": kind, "trial": trial, "values": {"optimizer.lr": rate}, "at": at, **more}


def result(trial, at, step, value, rate=0.1):
    return event("result", trial, at, rate, step=step, percent=5.0 * step, value=value)


EVENTS = [
    event("begin", "a", 100.0),
    event("begin", "b", 100.5),
    result("a", 101.0, 10, 0.9),
    result("b", 102.5, 10, 2.0),
    event("end", "b", 102.5),  # stopped at the half: 2 s
    result("a", 103.0, 20, 0.5),
    event("end", "a", 103.5),  # 3.5 s
    event("begin", "c", 104.0),
    result("c", 105.0, 10, 0.1),
    event("error", "c", 106.0, reason="RunError: the loss is no number"),  # 2 s
    event("begin", "d", 106.0),
    result("d", 107.0, 10, 0.4),
    result("d", 108.0, 20, 0.6),
    event("end", "d", 108.0),  # 2 s
]


def test_each_trial_is_a_row():
    rows = trials(EVENTS)
    assert [(t.name, t.status, t.last, t.best("min"), t.seconds) for t in rows] == [
        ("a", "finished", 0.5, 0.5, 3.5),
        ("b", "stopped", 2.0, 2.0, 2.0),
        ("c", "failed", 0.1, 0.1, 2.0),
        ("d", "finished", 0.6, 0.4, 2.0),
    ]
    assert rows[2].reason.startswith("RunError") and rows[0].curve == [(10, 50.0, 0.9, 1.0, 101.0), (20, 100.0, 0.5, 3.0, 103.0)]
    assert all(row.repeated_seconds == 0.0 and row.history == [(0, {"optimizer.lr": 0.1})] for row in rows)
    assert trials([]) == [] and trials([event("error", "x", 1.0, reason="no such optimizer")])[0].seconds == 0.0


def test_the_pause_between_two_attempts_is_not_paid_for_and_what_is_made_again_is_waste():
    killed = [event("begin", "a", 10.0), result("a", 13.0, 5, 0.9), result("a", 15.0, 10, 0.8)]  # killed at an unknown time after 15.0
    again = [event("begin", "a", 1000.0), result("a", 1002.5, 10, 0.8), result("a", 1004.0, 15, 0.7), result("a", 1006.0, 20, 0.6)]
    (row,) = trials([*killed, *again])
    assert row.status == "running" and row.spans == [(10.0, 15.0), (1000.0, 1006.0)] and row.seconds == 11.0
    assert [(p.step, p.seconds) for p in row.curve] == [(5, 3.0), (10, 7.5), (15, 9.0), (20, 11.0)]
    assert row.repeated_seconds == 2.5  # until it was as far as before
    (row,) = trials([*killed, *again, event("end", "a", 1006.5)])
    assert row.status == "finished" and row.seconds == 11.5


def test_a_journal_that_tells_no_beginning_is_read_too():
    (row,) = trials([result("a", 13.0, 5, 0.9), result("a", 15.0, 10, 0.8), result("a", 1002.5, 10, 0.8), result("a", 1004.0, 15, 0.7)])
    assert row.spans == [(13.0, 15.0), (1002.5, 1004.0)] and [p.step for p in row.curve] == [5, 10, 15]


def test_a_trial_that_waits_for_its_turn_costs_nothing():
    before = [event("begin", "a", 10.0), result("a", 12.0, 5, 0.9)]
    (row,) = trials([*before, event("pause", "a", 12.5), event("end", "a", 99.0)])
    assert row.status == "stopped" and row.seconds == 2.5
    (row,) = trials([*before, event("pause", "a", 12.5), event("begin", "a", 50.0), result("a", 51.0, 10, 0.8)])
    assert row.status == "running" and row.seconds == 3.5 and row.repeated_seconds == 0.0


def test_a_training_that_ended_itself_is_finished_and_a_retry_forgets_its_failure():
    events = [event("begin", "a", 0.0), result("a", 1.0, 10, 0.9)]
    assert trials([*events, event("end", "a", 1.0)])[0].status == "stopped"
    assert trials([*events, event("end", "a", 1.0, complete=True)])[0].status == "finished"
    retried = [*events, event("error", "a", 2.0, reason="the worker died"), event("begin", "a", 5.0), result("a", 7.0, 20, 0.5)]
    (row,) = trials([*retried, event("end", "a", 8.0)])
    assert (row.status, row.reason, row.seconds) == ("finished", "", 5.0)


def test_a_population_changes_its_values_and_takes_over_weights():
    events = [
        event("begin", "a", 0.0),
        event("begin", "b", 0.0, 0.2),
        result("a", 1.0, 10, 0.1),
        result("b", 1.0, 10, 0.5, 0.2),
        result("b", 2.0, 15, 0.4, 0.2),
        event("exploit", "b", 2.0, 0.3, step=10, **{"from": "a"}),
        event("begin", "b", 3.0, 0.3),
        result("b", 4.0, 15, 0.7, 0.3),
        result("b", 5.0, 20, 0.6, 0.3),
        event("end", "b", 5.0, 0.3),
    ]
    a, b = trials(events)
    assert b.values == {"optimizer.lr": 0.3}
    assert b.history == [(0, {"optimizer.lr": 0.2}), (10, {"optimizer.lr": 0.3})] and b.takeovers == [(10, "a")]
    assert [(p.step, p.value) for p in b.curve] == [(10, 0.5), (15, 0.7), (20, 0.6)]  # its own step 15 was given up
    assert b.best("min") == 0.6  # 0.5 was of weights that it no longer has
    assert b.seconds == 4.0 and b.repeated_seconds == 0.0
    assert schedule([a, b], "b") == [(0, {"optimizer.lr": 0.1}), (10, {"optimizer.lr": 0.3})]  # to step 10 they were the weights of a
    assert schedule([a, b], "a") == [(0, {"optimizer.lr": 0.1})]


def test_weights_that_wandered_keep_the_values_of_each_part():
    rows = [Trial(name, {}) for name in "abc"]
    rows[0].history, rows[0].takeovers = [(0, {"x": 1}), (20, {"x": 2}), (30, {"x": 3})], [(20, "b"), (30, "b")]
    rows[1].history, rows[1].takeovers = [(0, {"x": 4}), (10, {"x": 5}), (30, {"x": 6})], [(10, "c"), (30, "a")]
    rows[2].history = [(0, {"x": 7}), (5, {"x": 8}), (10, {"x": 9})]
    assert schedule(rows, "a") == [(0, {"x": 7}), (5, {"x": 8}), (10, {"x": 5}), (30, {"x": 3})]  # of b at 30: from c until 10, its own until 30
    assert schedule(rows, "c") == [(0, {"x": 7}), (5, {"x": 8}), (10, {"x": 9})]


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_what_is_no_number_is_no_value(value):
    (row,) = trials([event("begin", "a", 0.0), result("a", 1.0, 10, 0.5), result("a", 2.0, 20, value), event("end", "a", 2.0)])
    assert row.last is None and row.best("min") == row.best("max") == 0.5


def test_the_best_is_one_that_was_trained_to_its_end():
    rows = trials(EVENTS)
    assert winner(rows, "min").name == "d"  # c had 0.1 and failed; d had 0.4 at its half: the checkpoint that is kept
    assert winner(rows, "max").name == "a"  # b had 2.0 and was stopped
    assert winner(trials(EVENTS[:4]), "min") is None


def test_cost_is_the_trials_time_together_and_by_the_clock():
    rows = trials(EVENTS)
    assert work_seconds(rows) == 9.5 and work_seconds(rows, until=102.0) == 2.0 + 1.5
    # 100 to 103.5, then c and d from 104 to 108: nothing ran between.
    assert wall_seconds(rows) == 7.5 and wall_seconds(rows, until=105.0) == 4.5 and wall_seconds([]) == 0.0


def test_best_so_far_against_both():
    rows = trials(EVENTS)
    # a at 101: itself 1 s, b 0.5 s. a at 103: 3 s, b 2 s. d at 107: a 3.5 s, b 2 s, c 2 s, d 1 s.
    assert best_so_far(rows, "min") == [(1.5, 1.0, 0.9, "a"), (5.0, 3.0, 0.5, "a"), (8.5, 6.5, 0.4, "d")]
    assert best_so_far(rows, "max") == [(1.5, 1.0, 0.9, "a")]
    assert best_so_far([], "min") == []


def _read(path):
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_the_same_as_tables(tmp_path):
    write_trials(trials(EVENTS), "min", tmp_path / "trials.csv")
    rows = _read(tmp_path / "trials.csv")
    assert [r["status"] for r in rows] == ["finished", "stopped", "failed", "finished"]
    assert rows[0]["optimizer.lr"] == "0.1" and rows[3]["best"] == "0.4" and rows[0]["seconds"] == "3.5" and rows[2]["reason"].startswith("RunError")
    write_curves(trials(EVENTS), tmp_path / "curves.csv")
    rows = _read(tmp_path / "curves.csv")
    assert len(rows) == 6 and rows[1] == {"trial": "a", "step": "20", "percent": "100.0", "value": "0.5", "seconds": "3.0"}
