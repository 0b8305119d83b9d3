"""Where a step's time goes: a few steps under the torch profiler."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from components.files import atomic_path, write_text

TRACE_NAME, TABLE_NAME = "trace.json", "profile.txt"
_ROWS = 60  # operators in the table


class Profile:
    """Profiles `steps` steps, after one that is left out and as many of warm-up, into `trace.json` (for chrome://tracing or Perfetto) and
    `profile.txt` (a table by operator). Use it as a context and call `step` at the end of each step.

    What was recorded is written when the last of these steps ends, or with the context where training is shorter than that.

    Args:
        directory: where to write.
        steps: how many to record; with 0 nothing is done.
        rank: of this worker; only the first one records.
    """

    def __init__(self, directory: Path, steps: int, rank: int = 0) -> None:
        self._directory = directory
        self._profiler = self._make(steps) if steps and rank == 0 else None

    def _make(self, steps: int) -> profile:
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
        plan = schedule(wait=1, warmup=steps, active=steps, repeat=1)
        return profile(activities=activities, schedule=plan, on_trace_ready=self._write, acc_events=True)

    def __enter__(self) -> Profile:
        if self._profiler is not None:
            self._profiler.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._profiler is not None:
            self._profiler.stop()

    def step(self) -> None:
        """A training step has ended."""
        if self._profiler is not None:
            self._profiler.step()

    def _write(self, profiler: profile) -> None:
        order = "self_device_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
        with atomic_path(self._directory / TRACE_NAME) as temporary:
            profiler.export_chrome_trace(str(temporary))
        write_text(self._directory / TABLE_NAME, profiler.key_averages().table(sort_by=order, row_limit=_ROWS) + "\n")
