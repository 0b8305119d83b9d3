"""A search's journal as trials: by hand."""

from __future__ import annotations

import csv

import pytest

from flows.search.results import best_so_far, trials, winner, write_csv


def result(trial, at, step, percent, value):
    return {
        "kind": "result",
        "trial": trial,
        "values": {"optimizer.lr": float(len(trial))},
        "at": at,
        "step": step,
        "percent": percent,
        "value": value,
    }


def ends(trial, at, **more):
    return {"kind": "error" if more else "end", "trial": trial, "values": {"optimizer.lr": float(len(trial))}, "at": at, **more}


EVENTS = [
    result("a", 100.0, 10, 50.0, 0.9),
    result("bb", 101.0, 10, 50.0, 2.0),
    ends("bb", 101.0),  # stopped at the half
    result("a", 102.0, 20, 100.0, 0.5),
    ends("a", 102.0),
    result("ccc", 103.0, 10, 50.0, 0.1),
    ends("ccc", 104.0, reason="RunError: the loss is no number"),
    result("dddd", 105.0, 10, 50.0, 0.7),
    result("dddd", 106.0, 20, 100.0, 0.6),
    ends("dddd", 106.0),
]


def test_each_trial_is_a_row():
    rows = trials(EVENTS)
    assert [(t.name, t.status, t.last, t.best("min")) for t in rows] == [
        ("a", "finished", 0.5, 0.5),
        ("bb", "stopped", 2.0, 2.0),
        ("ccc", "failed", 0.1, 0.1),
        ("dddd", "finished", 0.6, 0.6),
    ]
    assert rows[2].reason.startswith("RunError") and rows[0].curve == [(10, 50.0, 0.9, 0.0), (20, 100.0, 0.5, 2.0)]


def test_a_trial_that_was_taken_up_again_is_told_once():
    events = [result("a", 1.0, 10, 50.0, 0.9), result("a", 2.0, 15, 75.0, 0.8), result("a", 9.0, 15, 75.0, 0.8), result("a", 10.0, 20, 100.0, 0.7)]
    (row,) = trials(events)
    assert [point[0] for point in row.curve] == [10, 15, 20] and row.status == "running"


def test_the_best_is_one_that_was_trained_to_its_end():
    rows = trials(EVENTS)
    assert winner(rows, "min").name == "a"  # ccc had 0.1 and failed
    assert winner(rows, "max").name == "a"  # at its half it had 0.9: the checkpoint that is kept
    assert winner(trials(EVENTS[:2]), "min") is None


def test_best_so_far():
    rows = trials(EVENTS)
    assert best_so_far(rows, "min") == [(0.0, 0.9), (2.0, 0.5), (3.0, 0.1)]
    assert best_so_far(rows, "max") == [(0.0, 0.9), (1.0, 2.0)]
    assert trials([]) == [] and best_so_far([], "min") == []


@pytest.mark.parametrize("mode", ["min"])
def test_the_same_as_a_table(tmp_path, mode):
    write_csv(trials(EVENTS), mode, tmp_path / "trials.csv")
    with open(tmp_path / "trials.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [r["status"] for r in rows] == ["finished", "stopped", "failed", "finished"]
    assert rows[0]["optimizer.lr"] == "1.0" and rows[0]["best"] == "0.5" and rows[2]["reason"].startswith("RunError")
