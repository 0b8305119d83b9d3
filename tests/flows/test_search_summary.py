"""What is said of a search: importance on functions whose answer is known, and the summary."""

from __future__ import annotations

import json
import random

import optuna
import pytest

from components.spec.schema import TuneSpec
from components.spec.space import Range
from flows.search.importance import common_percent, importance
from flows.search.results import Point, Trial
from flows.search.summary import summarize

SPACE = {"optimizer.lr": Range("log_uniform", (1e-4, 1e-1)), "model.width": Range("integer", (1, 64)), "seed": Range("choice", (0, 1, 2))}
TUNE = TuneSpec("asha", {"optimizer": {"lr": {"log_uniform": [1e-4, 1e-1]}}, "model": {"width": {"integer": [1, 64]}}, "seed": {"choice": [0, 1, 2]}})


def trial(name, values, value, begin, seconds=1.0):
    return Trial(name, values, "finished", "", [Point(10, 100.0, value, seconds, begin + seconds)], [(begin, begin + seconds)])


def drawn(function, space=SPACE, count=60):
    generator = random.Random(0)
    rows = []
    for i in range(count):
        values = {key: span.draw(generator) for key, span in space.items()}
        rows.append(trial(f"t{i}", values, function(*(space[key].position(values[key]) for key in space)), float(i)))
    return rows


def test_what_alone_moves_the_value_explains_it():
    space = {key: SPACE[key] for key in ("optimizer.lr", "model.width")}
    shares = importance(drawn(lambda lr, width: (lr - 0.5) ** 2, space), space, "min", seed=0)
    assert list(shares) == ["optimizer.lr", "model.width"] and shares["optimizer.lr"] > 0.95
    assert sum(shares.values()) == pytest.approx(1.0)


def test_two_that_move_it_alike_share_it():
    shares = importance(drawn(lambda lr, width, seed: lr + width, count=150), SPACE, "min", seed=0)
    # For a sum of two independent uniforms each has half of the variance.
    assert shares["optimizer.lr"] == pytest.approx(0.5, abs=0.12) and shares["model.width"] == pytest.approx(0.5, abs=0.12)
    assert shares["seed"] < 0.05


def test_it_is_what_optuna_says_of_a_study_of_its_own():
    space = {"a": Range("uniform", (2.0, 10.0)), "b": Range("uniform", (-1.0, 1.0)), "c": Range("choice", ([1], [2, 2], [3]))}
    rows = drawn(lambda a, b, c: 3 * a + b * b + c, space)
    study = optuna.create_study(direction="minimize")
    distributions = {
        "a": optuna.distributions.FloatDistribution(2.0, 10.0),
        "b": optuna.distributions.FloatDistribution(-1.0, 1.0),
        "c": optuna.distributions.CategoricalDistribution(("[1]", "[2, 2]", "[3]")),
    }
    for row in rows:
        params = {**row.values, "c": str(row.values["c"])}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=row.best("min")))
    expected = optuna.importance.get_param_importances(study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=7))
    assert importance(rows, space, "min", seed=7) == pytest.approx(expected, abs=1e-3)


def test_what_was_stopped_early_is_compared_where_it_was_stopped():
    rows = drawn(lambda lr, width, seed: lr)
    for i, row in enumerate(rows):  # half of them get no further than 10 %; the others end far lower, whatever their values
        half = Point(1, 10.0, row.curve[0].value, 0.1, row.spans[0][0])
        row.curve = [half, row.curve[0]._replace(value=-10.0)] if i % 2 else [half]
    assert common_percent(rows) == 10.0
    assert importance(rows, SPACE, "min", seed=0)["optimizer.lr"] > 0.95
    assert common_percent([]) == 0.0


def _varied(rows):
    rows[0].history = [(0, {}), (10, rows[0].values)]
    return rows


@pytest.mark.parametrize(
    "rows",
    [
        drawn(lambda *_: 0.0),
        drawn(lambda lr, *_: lr, count=4),
        drawn(lambda *_: None),
        _varied(drawn(lambda lr, *_: lr)),
        [trial(f"t{i}", {"optimizer.lr": 0.01 * i}, float(i), 0.0) for i in range(1, 9)],
    ],
    ids=["all alike", "too few", "no value", "values that changed", "keys that are missing"],
)
def test_where_nothing_can_be_said_nothing_is(rows):
    assert importance(rows, SPACE, "min", seed=0) == {}


def test_the_summary():
    rows = drawn(lambda lr, width, seed: (lr - 0.5) ** 2, count=12)
    rows[3].status, rows[3].curve = "stopped", [Point(5, 50.0, -1.0, 1.0, 4.0)]
    rows[4].status, rows[4].spans, rows[4].repeated_seconds = "failed", [(4.0, 9.0)], 2.0
    rows[5].repeated_seconds, rows[5].values = 0.5, {**rows[5].values, "optimizer.lr": 0.12, "seed": 9}
    found = summarize(TUNE, "validation/loss", "min", rows, gpus=2.0)
    assert found["space"]["optimizer.lr"]["kind"] == "log_uniform" and len(found["trials"]) == 12
    assert [pytest.approx(tick) for tick in found["space"]["optimizer.lr"]["ticks"]] == [[0.0, 1e-4], [0.5, 10**-2.5], [1.0, 1e-1]]
    best = min((t for t in found["trials"] if t["status"] == "finished"), key=lambda t: t["best"])
    assert found["winner"] == best["name"] == found["best_so_far"][-1]["trial"]  # not t3, whose -1 is of a half
    assert found["seconds"] == 16.0 and found["gpu_hours"] == pytest.approx(32 / 3600) and found["wall_seconds"] == 12.0
    assert (found["failed_seconds"], found["repeated_seconds"], found["wasted_seconds"]) == (5.0, 0.5, 5.5)  # 2 s of the 5 s are not told twice
    assert found["trials"][5]["positions"].keys() == {"optimizer.lr", "model.width"} and found["trials"][5]["positions"]["optimizer.lr"] == 1.0
    assert all(0.0 <= p <= 1.0 for t in found["trials"] for p in t["positions"].values())
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_a_list_is_shown_as_choices():
    tune = TuneSpec("list", configurations=({"optimizer.lr": 0.1}, {"optimizer.lr": 0.01, "model.widths": [8, 8]}))
    rows = [trial("a", tune.configurations[0], 1.0, 0.0), trial("b", tune.configurations[1], None, 1.0)]
    found = summarize(tune, "validation/loss", "min", rows)
    assert found["space"] == {
        "optimizer.lr": {"kind": "choice", "ticks": [[0.0, 0.1], [1.0, 0.01]]},
        "model.widths": {"kind": "choice", "ticks": [[0.0, [8, 8]]]},
    }
    assert [t["positions"] for t in found["trials"]] == [{"optimizer.lr": 0.0}, {"optimizer.lr": 1.0, "model.widths": 0.0}]
    assert found["winner"] == "a" and found["importance"] == {}


def test_a_search_without_a_trial_is_told():
    found = summarize(TUNE, "validation/loss", "min", [])
    assert found["trials"] == [] and found["winner"] is None and found["best_so_far"] == [] and found["seconds"] == 0
