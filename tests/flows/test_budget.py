"""What a budget lets through, reckoned by hand; that it ends a training and lets it go on, tests/flows/test_cost.py plays."""

from __future__ import annotations

import time

import pytest

from components.errors import UserError
from components.spec.schema import ClusterSpec
from flows.attempts import ATTEMPTS
from flows.compose import compose
from flows.cost.guard import time_limit
from flows.stages import configuration, identity, key_parts
from tests.flows.stores import PROJECT, add_run, store_with_digits
from tests.flows.test_cost import begin, end, lines, start, step
from tests.flows.test_predict import figure, figures

GPUS = ["cluster.workers=4", "cluster.gpus_per_worker=1"]


@pytest.fixture
def ready(tmp_path, monkeypatch):
    """A store with the data, and a run whose first attempt failed after 450 s on four GPUs: half a GPU-hour."""
    monkeypatch.chdir(PROJECT)
    store = store_with_digits(tmp_path / "store")
    directory = add_run(store, "one", {}, status="failed")
    lines(directory / ATTEMPTS, begin("x", 0), end("x", 450.0, "failed"))
    data = store.find("data", key_parts("data", compose(PROJECT), {}))
    return store, directory.name, data, tmp_path / "training"


def limit(ready, *overrides: str) -> float | None:
    store, run_id, data, training = ready
    return time_limit(store, run_id, compose(PROJECT, [*GPUS, *overrides]), data, training)


def test_what_is_left_is_shared_out_over_the_devices(ready):
    assert limit(ready) is None
    assert limit(ready, "budget.cpu_hours=0.001") is None  # cores of the stages without a GPU are not what a training holds
    assert limit(ready, "budget.gpu_hours=2") == pytest.approx(time.time() + 1.5 * 3600 / 4, abs=60)


def test_a_spent_budget_is_refused(ready):
    with pytest.raises(UserError, match=r"does not fit into its budget") as error:
        limit(ready, "budget.gpu_hours=0.5")
    assert "budget.gpu_hours=0.5: 0.5 GPU-hours are spent" in str(error.value) and "raise budget.gpu_hours" in str(error.value)


def test_a_prediction_that_does_not_fit_is_refused_but_for_what_is_made_already(ready):
    store, _, _, training = ready
    figures(store, "train", figure(900.0, 900.0, 40 * 1258, workers=4, gpus=1.0))  # the whole training: one GPU-hour
    with pytest.raises(UserError) as error:
        limit(ready, "budget.gpu_hours=1.4")
    assert "about 1 more" in str(error.value) and "at least 1.5 GPU-hours" in str(error.value)
    assert limit(ready, "budget.gpu_hours=1.6") is not None
    lines(training / "metrics.jsonl", start("x", 5), step(20, 20.0))  # 20 of 40 steps
    assert limit(ready, "budget.gpu_hours=1.4") is not None
    with pytest.raises(UserError, match=r"0.5 GPU-hours are spent"):
        limit(ready, "budget.gpu_hours=0.9")


def test_no_stage_and_no_run_depends_on_it():
    plain, limited = compose(PROJECT), compose(PROJECT, ["budget.gpu_hours=3"])
    assert identity(plain) == identity(limited) and configuration("train", plain) == configuration("train", limited)
    with pytest.raises(UserError, match=r"budget.gpu_hours is out of range"):
        compose(PROJECT, ["budget.gpu_hours=-1"])


def test_devices():
    assert (ClusterSpec(workers=3, cpus_per_worker=2.0).device_kind, ClusterSpec(workers=3, cpus_per_worker=2.0).devices) == ("cpu", 6.0)
    assert (ClusterSpec(workers=3, gpus_per_worker=0.5).device_kind, ClusterSpec(workers=3, gpus_per_worker=0.5).devices) == ("gpu", 1.5)
