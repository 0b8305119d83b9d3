"""What is said of a search: importance on functions whose answer is known, the summary, the page's section."""

from __future__ import annotations

import random

import pytest

from components.reporting.journal import Journal
from components.reporting.run import Run
from components.reporting.sections.search import search
from components.spec.schema import TuneSpec
from components.spec.space import Range
from flows.search.importance import importance
from flows.search.results import Trial
from flows.search.summary import summarize

SPACE = {"optimizer.lr": Range("log_uniform", (1e-4, 1e-1)), "model.width": Range("integer", (1, 64)), "seed": Range("choice", (0, 1, 2))}


def drawn(function, count=60):
    generator = random.Random(0)
    rows = []
    for i in range(count):
        values = {key: span.draw(generator) for key, span in SPACE.items()}
        places = [SPACE[key].position(values[key]) for key in SPACE]
        rows.append(Trial(f"t{i}", values, "finished", "", [(10, 100.0, function(*places), float(i))]))
    return rows


def test_what_alone_moves_the_value_explains_it():
    shares = importance(drawn(lambda lr, width, seed: (lr - 0.5) ** 2), SPACE, "min", seed=0)
    assert next(iter(shares)) == "optimizer.lr" and shares["optimizer.lr"] > 0.9
    assert 0.95 < sum(shares.values()) <= 1.0  # the rest are interactions, here the forest's own noise


def test_two_that_move_it_alike_share_it():
    shares = importance(drawn(lambda lr, width, seed: lr + width, 150), SPACE, "min", seed=0)
    # For a sum of two independent uniforms each has half of the variance.
    assert shares["optimizer.lr"] == pytest.approx(0.5, abs=0.12) and shares["model.width"] == pytest.approx(0.5, abs=0.12)
    assert shares["seed"] < 0.05


@pytest.mark.parametrize("rows", [drawn(lambda *_: 0.0), drawn(lambda lr, *_: lr, 4), drawn(lambda *_: float("nan"))])
def test_where_nothing_can_be_said_nothing_is(rows):
    assert importance(rows, SPACE, "min", seed=0) == {}


TUNE = TuneSpec("asha", {"optimizer": {"lr": {"log_uniform": [1e-4, 1e-1]}}, "model": {"width": {"integer": [1, 64]}}, "seed": {"choice": [0, 1, 2]}})


def summary():
    rows = drawn(lambda lr, width, seed: (lr - 0.5) ** 2, 12)
    rows[3].status, rows[3].curve = "stopped", [(5, 50.0, -1.0, 3.0)]
    rows[4].status, rows[4].reason, rows[4].curve = "failed", "RunError: <no number>", [(5, 50.0, 0.4, 4.0), (6, 60.0, None, 9.0)]
    return summarize(TUNE, "validation/loss", "min", rows)


def test_the_summary():
    found = summary()
    assert found["keys"] == ["optimizer.lr", "model.width", "seed"] and len(found["trials"]) == 12
    best = min((t for t in found["trials"] if t["status"] == "finished"), key=lambda t: t["best"])
    assert found["winner"] == best["name"]  # not t3, whose -1 is of a half
    assert found["wasted_seconds"] == 5.0
    assert all(0.0 <= p <= 1.0 for t in found["trials"] for p in t["positions"].values())


def test_a_list_is_shown_as_choices():
    tune = TuneSpec("list", configurations=({"optimizer.lr": 0.1}, {"optimizer.lr": 0.01, "seed": 1}))
    rows = [Trial("a", {"optimizer.lr": 0.1}, "finished", "", [(1, 100.0, 1.0, 0.0)]), Trial("b", {"optimizer.lr": 0.01, "seed": 1}, "finished")]
    found = summarize(tune, "validation/loss", "min", rows)
    assert [t["positions"] for t in found["trials"]] == [{"optimizer.lr": 0.0}, {"optimizer.lr": 1.0, "seed": 0.0}]
    assert found["winner"] == "a" and found["importance"] == {}


def test_the_section_shows_trials_best_first_and_its_charts():
    section = search(Run({}, {}, {}, {}, {}, Journal((), (), (), 0), {}, {}, None, (), summary()))
    assert section is not None and len(section.context["charts"]) == 4
    (table,) = section.context["tables"]
    values = [row[2] for row in table["rows"]]
    assert values == sorted(values) and len(values) == 12
    assert any(row[1] == "failed: RunError: <no number>" for row in table["rows"])
    assert "10 finished, 1 stopped, 1 failed" in section.context["intro"]
    assert search(Run({}, {}, {}, {}, {}, Journal((), (), (), 0), {}, {}, None, ())) is None
