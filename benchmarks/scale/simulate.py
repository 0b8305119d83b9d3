"""A training on a cluster that fails, as a discrete-event simulation; and the closed forms that it is held against.

    C  checkpoint_seconds   the training stands still for one (synchronous, as this project saves)
    R  restart_seconds      from a failure until the first new step: noticing, a new group, loading
    M  mtbf_seconds         mean time between failures of the whole job: of one node over the number of nodes
    T  interval_seconds     of work between two checkpoints

Failures are exponential, in work, in checkpoints and in restarts alike: a failure in a restart begins it anew.
Young 1974 (CACM 17, 530): T = sqrt(2 C M). Daly 2006 (FGCS 22, 303), his higher-order estimate: with x = sqrt(C / (2 M)),
T = sqrt(2 C M) (1 + x / 3 + x^2 / 9) - C for C < 2 M, else M. Daly's expected time of a work W: M e^(R/M) (e^((T+C)/M) - 1) W / T.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Job:
    """What a training is up against, in seconds."""

    checkpoint_seconds: float
    restart_seconds: float
    mtbf_seconds: float


@dataclass(frozen=True)
class Outcome:
    """How a simulated training went; all in seconds of the clock.

    Attributes:
        useful: work that stayed.
        saving, restarting: checkpoints; restarts.
        again: work and checkpoints that a failure undid.
        failures: how many.
    """

    useful: float
    saving: float
    again: float
    restarting: float
    failures: int

    @property
    def total(self) -> float:
        return self.useful + self.saving + self.again + self.restarting

    @property
    def efficiency(self) -> float:
        """Useful work over the clock."""
        return self.useful / self.total


def young(job: Job) -> float:
    """Return Young's interval of work between checkpoints."""
    return math.sqrt(2.0 * job.checkpoint_seconds * job.mtbf_seconds)


def daly(job: Job) -> float:
    """Return Daly's higher-order estimate of the best interval."""
    c, m = job.checkpoint_seconds, job.mtbf_seconds
    if c >= 2.0 * m:
        return m
    x = math.sqrt(c / (2.0 * m))
    return math.sqrt(2.0 * c * m) * (1.0 + x / 3.0 + x * x / 9.0) - c


def expected_efficiency(job: Job, interval_seconds: float) -> float:
    """Return useful work over expected time by Daly's closed form, exact for exponential failures."""
    m = job.mtbf_seconds
    time = m * math.exp(job.restart_seconds / m) * math.expm1((interval_seconds + job.checkpoint_seconds) / m)
    return interval_seconds / time


def best_interval(job: Job) -> float:
    """Return the interval that the closed form is best at, by golden section: it has one maximum."""
    low, high, golden = 1e-3 * young(job), 10.0 * max(young(job), job.mtbf_seconds), (math.sqrt(5.0) - 1.0) / 2.0
    while high - low > 1e-6 * high:
        a, b = high - golden * (high - low), low + golden * (high - low)
        if expected_efficiency(job, a) < expected_efficiency(job, b):
            low = a
        else:
            high = b
    return (low + high) / 2.0


def simulate(job: Job, work_seconds: float, interval_seconds: float, seed: int) -> Outcome:
    """Play a training of so much work, with a checkpoint after every interval of it and at its end."""
    draws = random.Random(seed)
    failure = draws.expovariate(1.0 / job.mtbf_seconds)  # seconds until the next one
    useful = saving = again = restarting = 0.0
    failures = 0
    while useful < work_seconds:
        segment = min(interval_seconds, work_seconds - useful)
        if failure > segment + job.checkpoint_seconds:
            failure -= segment + job.checkpoint_seconds
            useful, saving = useful + segment, saving + job.checkpoint_seconds
            continue
        again += failure
        failures += 1
        while (failure := draws.expovariate(1.0 / job.mtbf_seconds)) < job.restart_seconds:
            restarting += failure
            failures += 1
        restarting += job.restart_seconds
        failure -= job.restart_seconds
    return Outcome(useful, saving, again, restarting, failures)
