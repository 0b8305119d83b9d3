"""The gate on evaluations made by hand: whom it lets through, whom it refuses, and the numbers that it gives for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from components.errors import UserError
from components.gate.gate import judge
from components.gate.refusals import refusals
from components.spec.schema import Expectation, GateSpec, SliceSpec
from tests.gate.made import contender, make_data

ROWS = 1000
TRAIN = np.arange(ROWS, ROWS + 50)
JUDGED_BY = ("accuracy", True)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """1,000 test rows, the first 100 of them seen by the camera in the south."""
    cameras = (np.arange(ROWS) < 100).astype(int)
    return make_data(tmp_path_factory.mktemp("made") / "data", np.arange(ROWS), TRAIN, cameras)


def right(wrong):
    """Accuracies of 1,000 rows, wrong on those given."""
    found = np.ones(ROWS)
    found[list(wrong)] = 0
    return found


def verdict(tmp_path, data, candidate, champion, gate=None):
    pair = [contender(tmp_path / name, data, accuracy=found) for name, found in (("new", candidate), ("old", champion))]
    return judge(*pair, data, gate or GateSpec(), (), JUDGED_BY)


def test_a_better_candidate_passes(tmp_path, data):
    found = verdict(tmp_path, data, right(range(500, 530)), right(range(500, 600)), GateSpec(margin=0.0))
    assert found["passed"] and found["score"] == "accuracy" and found["compared_rows"] == ROWS
    assert found["gain"]["champion"] == pytest.approx(0.9) and found["gain"]["candidate"] == pytest.approx(0.97)
    # 70 rows of 1,000 gained, none lost: 0.07 +- 1.96 x sqrt(0.07 x 0.93 / 1000)
    assert (found["gain"]["lower"], found["gain"]["upper"]) == pytest.approx((0.0542, 0.0858), abs=0.002)


def test_a_worse_candidate_is_refused_with_the_interval(tmp_path, data):
    found = verdict(tmp_path, data, right(range(500, 600)), right(range(500, 530)))
    assert not found["passed"]
    assert found["gain"]["upper"] < -0.02 * 0.97  # surely worse by more than the margin
    (line,) = [line for line in refusals(found) if line.startswith("accuracy: ")]
    assert "0.9700 -> 0.9000: a gain of -0.0700 [-0.08" in line


def test_the_margin_decides_about_equals(tmp_path, data):
    """30 rows are right in one model only, 30 in the other: no gain, an interval of about +- 0.015."""
    new, old = right(range(500, 530)), right(range(600, 630))
    assert verdict(tmp_path / "a", data, new, old, GateSpec(margin=0.02))["passed"]
    found = verdict(tmp_path / "b", data, new, old, GateSpec(margin=0.01))
    assert not found["passed"] and "more test rows would narrow the interval" in refusals(found)[0]
    assert not verdict(tmp_path / "c", data, new, old, GateSpec(margin=0.0))["passed"]


def test_a_slice_may_not_become_worse_unseen(tmp_path, data):
    """Better on the whole, by 40 rows of 1,000, and worse in the south, by 30 of its 100."""
    new, old = right(range(30)), right(range(500, 570))
    found = verdict(tmp_path, data, new, old)
    assert found["gain"]["gain"] == pytest.approx(0.04)
    assert [line.partition(":")[0] for line in refusals(found)] == ["slice camera=south"]
    assert verdict(tmp_path / "free", data, new, old, GateSpec(slices=None))["passed"]
    assert verdict(tmp_path / "few", data, new, old, GateSpec(slices=SliceSpec(min_rows=101)))["passed"]


def test_a_loss_is_better_when_it_is_lower(tmp_path, data):
    loss = np.random.default_rng(0).gamma(2.0, size=ROWS)
    old = contender(tmp_path / "old", data, loss=loss)
    better, worse = (contender(tmp_path / f"new{f}", data, loss=f * loss) for f in (0.9, 1.1))
    assert judge(better, old, data, GateSpec(), (), ("loss", False))["passed"]
    found = judge(worse, old, data, GateSpec(), (), ("loss", False))
    assert not found["passed"] and found["score"] == "loss" and found["gain"]["gain"] == pytest.approx(-0.1 * loss.mean())


def test_what_is_judged_by_another_metric_is_held_to_that_too(tmp_path, data):
    """Average precision is no mean over samples: one number against another."""
    loss = np.ones(ROWS)
    old = contender(tmp_path / "old", data, loss=loss, metrics={"average_precision": 0.80})
    new = contender(tmp_path / "new", data, loss=loss, metrics={"average_precision": 0.75})
    found = judge(new, old, data, GateSpec(), (), ("average_precision", True))
    assert [line.partition(":")[0] for line in refusals(found)] == ["average_precision"]


def test_what_it_is_judged_by_has_an_interval_where_each_sample_has_it(tmp_path, data):
    """The loss of a classifier on 1,000 rows, of which 50 moved: 2.6 % worse in the mean, and nobody can say whether it is not less than 2 %."""
    same, loss = right(range(500, 530)), np.ones(ROWS)
    noisy = loss.copy()
    noisy[:30], noisy[30:50] = 2.8, -0.4  # 0.054 - 0.028 = 0.026 in the mean
    old = contender(tmp_path / "old", data, same, loss, metrics={"loss": 1.0})
    new = contender(tmp_path / "new", data, same, noisy, metrics={"loss": 1.026})
    found = judge(new, old, data, GateSpec(margin=0.02), (), ("loss", False))
    (told,) = [finding for finding in found["findings"] if finding["name"] == "loss"]
    # a standard error of sqrt((30 x 1.8^2 + 20 x 1.4^2) / 1000 - 0.026^2) / sqrt(1000) = 0.0116
    assert (told["numbers"]["lower"], told["numbers"]["upper"]) == pytest.approx((-0.026 - 1.96 * 0.0116, -0.026 + 1.96 * 0.0116), abs=0.002)
    assert found["passed"] and "1.0000 -> 1.0260: a gain of -0.0260 [" in told["detail"]
    assert found["score"] == "accuracy" and found["gain"]["gain"] == 0.0
    worse = contender(tmp_path / "worse", data, same, noisy + 0.02, metrics={"loss": 1.046})  # surely by more than 2 %
    refused = judge(worse, old, data, GateSpec(margin=0.02), (), ("loss", False))
    assert [line.partition(":")[0] for line in refusals(refused)] == ["loss"]


def test_limits_on_latency(tmp_path, data):
    old, new = (replace(contender(tmp_path / name, data, right([])), latency_milliseconds=took) for name, took in (("old", 2.0), ("new", 5.0)))
    refused = judge(new, old, data, GateSpec(max_latency_milliseconds=4.9, max_slowdown=2.4), (), JUDGED_BY)
    assert refusals(refused) == ["latency: 5 ms for one sample, at most 4.9", "slowdown: 2 -> 5 ms for one sample, at most 2.4 times"]
    assert judge(new, old, data, GateSpec(max_latency_milliseconds=5.0, max_slowdown=2.5), (), JUDGED_BY)["passed"]


def test_calibration_expectations_and_budgets(tmp_path, data):
    same = right(range(10))
    old = contender(tmp_path / "old", data, same, metrics={"expected_calibration_error": 0.02, "accuracy": 0.99})
    new = contender(tmp_path / "new", data, same, metrics={"expected_calibration_error": 0.05, "accuracy": 0.99})
    wishes = (Expectation("test/accuracy", minimum=0.995), Expectation("test/accuracy", minimum=0.9), Expectation("test/absent", minimum=0.0))
    found = judge(new, old, data, GateSpec(max_size_mib=1.0), wishes, JUDGED_BY)
    names = [line.partition(":")[0] for line in refusals(found)]
    assert names == ["expected test/accuracy", "expected test/absent", "calibration", "size"]


def test_rows_that_a_model_was_trained_on_do_not_count(tmp_path):
    """The champion was trained on yesterday's data, where 400 of today's test rows were training rows, and knows them by heart."""
    test = np.arange(ROWS)
    today = make_data(tmp_path / "today", test, TRAIN, np.zeros(ROWS, int))
    yesterday = make_data(tmp_path / "yesterday", TRAIN, test[:400], np.zeros(50, int))
    new, old = right(range(100, 300)), right(range(700, 720))  # the 200 that only the champion has right are among the 400
    champion = contender(tmp_path / "old", yesterday, accuracy=old)
    found = judge(contender(tmp_path / "new", today, accuracy=new), champion, today, GateSpec(), (), JUDGED_BY)
    assert found["passed"] and found["compared_rows"] == 600 and found["rows"] == ROWS
    assert found["gain"]["gain"] == pytest.approx(20 / 600)
    leaking = make_data(tmp_path / "leaking", test, test[:7], np.zeros(ROWS, int))
    found = judge(contender(tmp_path / "leak", leaking, accuracy=new), None, leaking, GateSpec(), (), JUDGED_BY)
    assert refusals(found) == ["leak: 7 of 1000 judged rows stand in the candidate's training data"]


def test_without_a_champion_only_the_candidate_is_looked_at(tmp_path, data):
    found = judge(contender(tmp_path / "new", data, right([])), None, data, GateSpec(), (), JUDGED_BY)
    assert found["passed"] and found["score"] is None and found["gain"] is None


def test_a_score_that_is_not_there_is_refused(tmp_path, data):
    pair = [contender(tmp_path / name, data, loss=np.ones(ROWS)) for name in ("new", "old")]
    with pytest.raises(UserError, match="no score to compare") as refused:
        judge(*pair, data, GateSpec(score="accuracy"), (), JUDGED_BY)
    assert "one of: loss" in str(refused.value)
