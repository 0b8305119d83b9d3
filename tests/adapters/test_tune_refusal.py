"""A first configuration that is refused ends the search with the refusal; once something was measured, it is a trial that failed."""

from __future__ import annotations

import pytest

from components.errors import UserError
from components.files import write_json
from components.spec.schema import BudgetSpec
from components.training.journal import Journal
from flows.adapters.ray import failure
from flows.adapters.tune import FAILURES, JOURNAL
from flows.adapters.tune_budget import budget
from flows.adapters.tune_group import _require_a_result

REFUSAL = UserError(
    "trainer.monitor.metric is not reported by this experiment", received="validation/accurracy", expected="one of: validation/accuracy"
)


@pytest.fixture
def search(tmp_path):
    write_json(tmp_path / FAILURES / "b.json", failure(REFUSAL, "trace"))
    write_json(tmp_path / FAILURES / "a.json", failure(RuntimeError("out of memory"), "trace"))
    return tmp_path


def test_nothing_was_measured(search):
    assert budget(search, BudgetSpec(), 0.0).stop_all()
    (search / JOURNAL).touch()
    with pytest.raises(UserError) as raised:
        _require_a_result(search)
    assert str(raised.value) == str(REFUSAL)


def test_something_was(search):
    stopper = budget(search, BudgetSpec(), 0.0)
    stopper("c", {"time_this_iter_s": 1.0})
    assert not stopper.stop_all()
    Journal(search / JOURNAL).write("result", trial="c")
    _require_a_result(search)


def test_gpu_hours_are_counted_over_all_attempts(tmp_path):
    """Two GPUs a trial, 30 minutes in all: 0.9 GPU-hours of an earlier attempt leave 3 minutes of a trial."""
    write_json(tmp_path / "spent.json", {"seconds": 1620.0, "gpu_seconds": 0.9 * 3600})
    stopper = budget(tmp_path, BudgetSpec(gpu_hours=1.0), gpus_per_trial=2.0)
    stopper("a", {"time_this_iter_s": 179.0})
    assert not stopper.stop_all()
    stopper("a", {"time_this_iter_s": 1.0})
    assert stopper.stop_all()
    assert budget(tmp_path, BudgetSpec(hours=0.45), 0.0).stop_all() and not budget(tmp_path, BudgetSpec(hours=0.46), 0.0).stop_all()
