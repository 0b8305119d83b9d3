"""The simulated cluster against the closed forms of Young and Daly."""

from __future__ import annotations

import hashlib
import math

import pytest

from benchmarks.scale.arithmetic import computed, mtbf_hours
from benchmarks.scale.simulate import Job, best_interval, daly, expected_efficiency, simulate, young
from components.files import sha256_file, sha256_files

HOURS = 3600.0
JOBS = [Job(30.0, 60.0, 24 * HOURS), Job(120.0, 300.0, 6 * HOURS), Job(300.0, 600.0, 1 * HOURS)]


def efficiency(job: Job, interval: float, failures: int = 4000) -> float:
    """Of a training long enough for so many failures: its standard error is about a part in the root of them of what failures cost."""
    return simulate(job, failures * job.mtbf_seconds * expected_efficiency(job, interval), interval, seed=7).efficiency


def test_young_by_hand():
    assert young(Job(50.0, 0.0, 10_000.0)) == 1000.0  # sqrt(2 * 50 * 10,000)


def test_daly_by_hand():
    x = math.sqrt(200.0 / 20_000.0)  # 0.1
    assert daly(Job(200.0, 0.0, 10_000.0)) == pytest.approx(2000.0 * (1 + x / 3 + x * x / 9) - 200.0)
    assert daly(Job(3000.0, 0.0, 1000.0)) == 1000.0


def test_without_failures_only_checkpoints_cost():
    found = simulate(Job(10.0, 60.0, 1e15), 10_000.0, 100.0, seed=0)
    assert (found.useful, found.saving, found.again, found.restarting, found.failures) == (10_000.0, 1000.0, 0.0, 0.0, 0)


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_the_simulation_agrees_with_the_closed_form(job, factor):
    interval = factor * daly(job)
    assert efficiency(job, interval) == pytest.approx(expected_efficiency(job, interval), rel=0.02)


@pytest.mark.parametrize("job", JOBS)
def test_the_optimum_is_dalys_and_youngs_where_checkpoints_are_short(job):
    assert best_interval(job) == pytest.approx(daly(job), rel=0.02)
    if job.checkpoint_seconds < job.mtbf_seconds / 1000:
        assert best_interval(job) == pytest.approx(young(job), rel=0.03)


@pytest.mark.parametrize("job", JOBS)
def test_the_simulated_optimum_is_where_the_formula_says(job):
    """Too often and too seldom both cost; the same draws at every interval, so that differences are of the interval."""
    factors = (0.4, 0.6, 1.0, 1.6, 2.5)
    found = {factor: efficiency(job, factor * daly(job)) for factor in factors}
    assert max(found, key=found.__getitem__) in (0.6, 1.0, 1.6)
    assert found[1.0] >= 0.99 * max(found.values()) and found[0.4] < found[1.0] > found[2.5]


def test_the_parts_add_up_and_the_seed_decides():
    job = JOBS[1]
    found = simulate(job, 1e6, daly(job), seed=3)
    assert found == simulate(job, 1e6, daly(job), seed=3) != simulate(job, 1e6, daly(job), seed=4)
    assert found.useful == pytest.approx(1e6) and found.total == pytest.approx(found.useful + found.saving + found.again + found.restarting)
    assert found.failures == pytest.approx(found.total / job.mtbf_seconds, rel=0.3)


def test_the_published_rate_by_hand():
    assert mtbf_hours(16_384) == pytest.approx(54 * 24 / 419) == pytest.approx(3.09, abs=0.01)
    assert mtbf_hours(1000) == pytest.approx(50.7, abs=0.1)


def test_what_follows_from_the_measurements():
    known = {
        "checkpoint saved: what a core does of it": 1e9 / 2**20,  # 1 GB/s, so 7e9 parameters of 12 bytes take 84 s
        "checkpoint verified: what a core does of it": 1e9 / 2**20,
        "from a worker's death to the training going on": 20.0,
        "state that each rank adds to a checkpoint": 15_000.0,
    }
    rows = {r["what"]: r for r in computed(known)}
    assert rows["checkpoint of 7B"]["value"] == 84.0 and rows["state of all ranks in a checkpoint"]["value"] == 15.0
    job = Job(84.0, 300.0 + 84.0, mtbf_hours(1000) * 3600)
    assert rows["best interval, 7B"]["value"] == pytest.approx(daly(job) / 60)
    assert rows["useful part of the time, 7B"]["value"] == pytest.approx(expected_efficiency(job, daly(job)))
    assert "needs the measurement 'sha256 on a core'" in rows["data: not reckoned"]["how"]  # and says so, rather than reckon without


def test_many_files_hash_as_one_by_one(tmp_path):
    paths = [tmp_path / f"{i}.bin" for i in range(3)]
    for i, path in enumerate(paths):
        path.write_bytes(bytes([i]) * (7 << 20))
    assert sha256_files(paths) == [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    assert sha256_files(paths[:1]) == [sha256_file(paths[0])] and sha256_files([]) == []
