"""The budget of a search as Ray Tune's stopper."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from components.files import read_object
from components.spec.schema import BudgetSpec
from flows.adapters.tune import FAILURES
from flows.exclusive import replace_json

SPENT = "spent.json"


def budget(directory: Path, limits: BudgetSpec, gpus_per_trial: float, is_listed: bool = False) -> Any:
    """Make what ends a search when its hours or GPU-hours are spent, over all attempts, or when its first configuration is refused.

    Trials that run are stopped as a scheduler stops them: they save, and what they came to counts.

    Args:
        directory: of the search; spent.json is kept there.
        limits: the budget; `trials` is not this one's to keep.
        gpus_per_trial: that a trial holds while it runs.
        is_listed: each configuration was named: that one is refused says nothing of the others.
    """
    from ray import tune

    class Budget(tune.Stopper):  # type: ignore[misc]
        def __init__(self) -> None:
            self._before: dict[str, float] = {}
            self._began: float | None = None
            self._gpu_seconds = 0.0
            self._results = 0

        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            self._results += 1
            self._gpu_seconds += float(result["time_this_iter_s"]) * gpus_per_trial
            replace_json(directory / SPENT, self._spent())
            return False

        def stop_all(self) -> bool:
            spent = self._spent()
            refused = not is_listed and not self._results and refusal(directory) is not None
            return refused or _over(spent["seconds"], limits.hours) or _over(spent["gpu_seconds"], limits.gpu_hours)

        def _spent(self) -> dict[str, float]:
            if self._began is None:  # in this attempt
                self._began, self._before = time.time(), read_object(directory / SPENT)
            seconds = self._before.get("seconds", 0.0) + time.time() - self._began
            return {"seconds": seconds, "gpu_seconds": self._before.get("gpu_seconds", 0.0) + self._gpu_seconds}

        def __getstate__(self) -> dict[str, Any]:
            """What Tune keeps of it: nothing of this attempt, which spent.json tells better."""
            return {"_before": {}, "_began": None, "_gpu_seconds": 0.0, "_results": self._results}

    return Budget()


def refusal(directory: Path) -> dict[str, Any] | None:
    """Return what a trial said of a configuration that it refused; None where none did."""
    told = (read_object(path) for path in sorted((directory / FAILURES).glob("*.json")))
    return next((record for record in told if record.get("kind") == "UserError"), None)


def _over(seconds: float, hours: float | None) -> bool:
    return hours is not None and seconds >= hours * 3600.0
