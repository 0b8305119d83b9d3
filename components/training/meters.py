"""How fast training goes, for the journal's step records."""

from __future__ import annotations

import os
import resource
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import torch

_GIB = 2.0**30
_RECENT = 25  # records that the expected end is reckoned from


class Meter:
    """Measures steps between two records of the journal.

    The loop calls `start` before the first step and after every pause (validation, a checkpoint), so that a pause counts as no step's time;
    then `waited` and `step` at each step, and `figures` at each record, after it has fetched the loss: only that makes a GPU's time visible.

    Args:
        total_steps: of the whole run.
        step: steps made so far (a resumed run).
        device: of this worker.
        step_flops: floating-point operations of this worker's part of one step, where known (flops.py).
        peak_flops: of the device, in one second, where known.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        total_steps: int,
        step: int,
        device: torch.device,
        step_flops: float | None = None,
        peak_flops: float | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._remaining_steps, self._device = total_steps - step, device
        self._step_flops, self._peak_flops, self._clock = step_flops, peak_flops, clock
        self._recent: deque[float] = deque(maxlen=_RECENT)  # mean seconds of a step, record by record
        self._mark = clock()
        self._clear()

    def _clear(self) -> None:
        self._steps, self._samples, self._seconds, self._waited_seconds = 0, 0, 0.0, 0.0

    def start(self) -> None:
        """The next step's time begins now."""
        self._mark = self._clock()

    def waited(self, seconds: float) -> None:
        """Note that the next step waited for its batch."""
        self._waited_seconds += seconds

    def step(self, samples: int) -> None:
        """A step has ended, and the next begins.

        Args:
            samples: of the global batch; `samples_per_second` is of what is given here.
        """
        now = self._clock()
        self._seconds += now - self._mark
        self._mark = now
        self._samples += samples
        self._steps += 1
        self._remaining_steps -= 1

    def figures(self) -> dict[str, float]:
        """Return what was measured since the last call, and begin anew; nothing where no step was made.

        samples_per_second, step_seconds (mean), data_wait_share (of the time, 0 to 1), eta_seconds, peak_memory_gib; flops_per_second where
        the operations of a step are known, and mfu_percent where the device's peak is too (model FLOPs utilisation, Chowdhery et al. 2022,
        "PaLM", section 4.1).
        """
        if self._steps == 0:
            return {}
        seconds = max(self._seconds, 1e-9)
        step_seconds = seconds / self._steps
        self._recent.append(step_seconds)
        found = {
            "samples_per_second": self._samples / seconds,
            "step_seconds": step_seconds,
            "data_wait_share": self._waited_seconds / seconds,
            "eta_seconds": self._remaining_steps * self._usual_step_seconds(),
            "peak_memory_gib": peak_memory_gib(self._device),
        }
        if self._step_flops is not None:
            found["flops_per_second"] = self._step_flops / step_seconds
            if self._peak_flops is not None:
                found["mfu_percent"] = 100.0 * found["flops_per_second"] / self._peak_flops
        self._clear()
        return found

    def _usual_step_seconds(self) -> float:
        """The median over recent records, which a compilation or a busy moment does not move. Not over single steps: a GPU's host runs ahead
        and waits now and then for all steps since, so single steps look short or very long."""
        return statistics.median(self._recent)


def peak_memory_gib(device: torch.device) -> float:
    """Return the most memory ever held: of a GPU by its tensors, else by this process (resident)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / _GIB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / _GIB if sys.platform == "darwin" else peak * 1024 / _GIB  # Linux counts in KiB


def available_memory_gib(root: Path = Path("/")) -> float:
    """Return how much memory a process can still take: the machine's, or the container's (cgroup v2) where that is less.

    Caches count as available. Without Linux's files, all memory of the machine.

    Args:
        root: where `proc` and `sys` are.
    """
    try:
        machine = _number(root / "proc/meminfo", "MemAvailable:") * 1024
    except OSError:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / _GIB
    try:
        limit = int((root / "sys/fs/cgroup/memory.max").read_text())
        container = limit - _number(root / "sys/fs/cgroup/memory.stat", "anon")
    except (OSError, ValueError):  # no container, or one whose limit is "max"
        container = machine
    return max(0, min(machine, container)) / _GIB


def _number(path: Path, name: str) -> int:
    """The number behind a name in a file of lines `name number`."""
    return next(int(line.split()[1]) for line in path.read_text().splitlines() if line.split()[:1] == [name])
