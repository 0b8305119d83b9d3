"""The digest of a night, for the terminal, for Markdown and as a page: what a reader must find in it."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from components.reporting.digest import render_digest
from flows.nightly.digest import cost_line, digest_markdown, digest_text, headline
from flows.nightly.night import failed
from flows.nightly.outcome import STATUSES, Outcome

GAIN = {"candidate": 0.90, "champion": 0.97, "gain": -0.07, "lower": -0.0975, "upper": -0.0362}
PROMOTED = Outcome("digits", "promoted", True, "r1", changes=["it is the first"], champion=1, metric="test/accuracy", value=0.97)
REFUSED = Outcome("faces", "refused", True, "r2", ["accuracy: a gain of -0.07"], ["seed: 0 -> 1"], 3, 3, "test/accuracy", 0.9, 0.97, GAIN)
FAILED = Outcome("<b>poles</b>", "failed", True, "r3", ["the data\nare gone"])
SAME = Outcome("sales", "unchanged", False, "r4", champion=2, before=2, gain=GAIN)
NOTHING = {"gpu_seconds": 0.0, "cpu_seconds": 0.0, "wasted_gpu_seconds": 0.0, "wasted_cpu_seconds": 0.0, "money": {"amount": 0.0, "currency": None}}


def record(*outcomes, cost=NOTHING, interrupted=None):
    told = {"started": "2026-11-22T02:00:00+00:00", "reason": "schedule", "outcomes": [asdict(o) for o in outcomes], "cost": cost}
    return {**told, "interrupted": interrupted, "path": "/store/nights/x.json", "page": "/store/nights/x.html"}


def test_a_night_of_all_kinds():
    found = record(PROMOTED, REFUSED, FAILED, SAME)
    assert headline(found) == "4 models, 3 trained: 1 promoted, 1 refused, 1 FAILED, 1 nothing new."
    assert failed(found) == ["<b>poles</b>"]
    text = digest_text(found)
    assert "promoted; champion none -> 1; test/accuracy 0.97" in text
    assert "refused; champion stays 3; test/accuracy 0.97 -> 0.9; gain -0.0700 [-0.0975, -0.0362]" in text
    assert "why: the data are gone" in text and "changed: seed: 0 -> 1" in text
    markdown = digest_markdown(found)
    assert "| faces | refused | stays 3 | test/accuracy 0.97 -> 0.9 | -0.0700 [-0.0975, -0.0362] |" in markdown
    assert "**faces: Why not**" in markdown and "- accuracy: a gain of -0.07" in markdown


def test_a_night_with_nothing_new_says_so():
    assert headline(record(SAME)).startswith("Nothing new") and "Nothing was trained" in headline(record(SAME))
    assert "gain" not in digest_text(record(SAME))  # of a comparison of some earlier night


def test_nothing_was_trained_is_said_only_where_it_is_true():
    """A training may end in the champion's weights."""
    again = replace(SAME, trained=True)
    assert headline(record(again)) == "1 model, 1 trained: 1 nothing new."
    assert headline(record(SAME, again)) == "2 models, 1 trained: 2 nothing new."


def test_a_night_that_was_interrupted_says_where_and_what_came_before():
    assert headline(record(PROMOTED, SAME, interrupted="faces")) == (
        "INTERRUPTED in the turn of faces. Before it: 2 models, 1 trained: 1 promoted, 1 nothing new."
    )
    at_once = record(interrupted="digits")
    assert headline(at_once) == "INTERRUPTED in the turn of digits. Before it: 0 models, 0 trained."
    assert headline(at_once) in digest_text(at_once) and headline(at_once) in digest_markdown(at_once)


def test_what_was_refused_before_and_has_not_changed_is_told_apart():
    again = Outcome("faces", "refused", False, "r2", ["accuracy: worse"], champion=3, before=3)
    assert "refused, as before: nothing new" in digest_text(record(again))


@pytest.mark.parametrize(
    ("cost", "told"),
    [
        ({}, "nothing"),
        ({"gpu_seconds": 7200.0, "wasted_gpu_seconds": 720.0}, "2.000 GPU-hours, 10% of them wasted; 0.00"),
        ({"cpu_seconds": 36.0, "money": {"amount": 1.25, "currency": "EUR"}}, "0.010 CPU-hours; 1.25 EUR"),
        ({"cpu_seconds": 36.0, "money": {"amount": None, "currency": None}}, "0.010 CPU-hours"),
    ],
)
def test_what_it_cost(cost, told):
    assert cost_line(record(SAME, cost=NOTHING | cost)) == told


def test_the_page_shows_every_kind_and_escapes_what_is_not_ours(tmp_path):
    left = Outcome("late", "left", reasons=["the night's 4 GPU-hours are spent"])
    assert {o.status for o in (PROMOTED, REFUSED, FAILED, SAME, left)} == set(STATUSES)
    found = record(PROMOTED, REFUSED, FAILED, SAME, left, cost=NOTHING | {"gpu_seconds": 7200.0})
    render_digest(found, headline(found), cost_line(found), tmp_path / "night.html")
    page = (tmp_path / "night.html").read_text()
    assert "<b>poles</b>" not in page and "&lt;b&gt;poles" in page
    for word in (
        "promoted",
        "refused",
        "failed",
        "nothing new",
        "left for the next night",
        "-0.0975",
        "seed: 0 -&gt; 1",
        headline(found),
        "2.000 GPU-hours",
        "test/accuracy",
    ):
        assert word in page, word
