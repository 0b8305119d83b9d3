"""The W&B run of a pipeline run's training: begun when it trains, ended with the evaluation's figures and the report; one for all attempts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from components.files import digest
from components.spec.parse import to_plain
from components.spec.schema import Spec
from flows.adapters.wandb import Tracker, is_unfinished, tracking_mode


def tracking_id(key: str) -> str:
    """Return the id of the W&B run that follows a train stage: the same training, resumed, is the same W&B run."""
    return digest(f"{key}.partial")


class Tracking:
    """What follows the training of one pipeline run.

    Args:
        directory: the pipeline run's; its name is the run's id.
        part_of: the id of the run that this one is a trial of; its group.
        origin: says, when the training of a key begins, where it comes from: git, data, run; W&B's configuration holds it beside the specification.
    """

    def __init__(self, spec: Spec, directory: Path, part_of: str | None, origin: Callable[[str], dict[str, Any]]) -> None:
        self._spec, self._directory, self._part_of, self._origin = spec, directory, part_of, origin
        self._tracker: Tracker | None = None

    def begin(self, key: str, journal: Path) -> None:
        """Start W&B on the journal of a train stage, unless tracking is disabled."""
        if tracking_mode(self._spec.tracking) == "disabled":
            return
        order = {
            "id": tracking_id(key),
            "stage": key,
            "group": self._part_of or self._directory.name,
            "job_type": "train" if self._part_of is None else "trial",
            "name": self._directory.name,
            "journal": str(journal),
            "config": {**to_plain(self._spec), "origin": self._origin(key)},
            "tags": [self._spec.experiment.partition("/")[0], self._spec.data.name],
        }
        self._directory.mkdir(parents=True, exist_ok=True)
        self._tracker = Tracker(self._spec.tracking, self._directory, order)

    def finish(self, key: str, journal: Path, metrics: Mapping[str, Mapping[str, float]], report: Path | None = None) -> None:
        """Hand over figures and report. Where an attempt that was killed has left the tracking undone, it is done again, under the same id."""
        if self._tracker is None and is_unfinished(self._directory, tracking_id(key)):
            self.begin(key, journal)
        if self._tracker is not None:
            self._tracker.finish({f"{split}/{name}": value for split, found in metrics.items() for name, value in found.items()}, report)

    def close(self) -> str | None:
        """Wait a bounded time for W&B to end. Returns a sentence when something was not tracked."""
        tracker, self._tracker = self._tracker, None
        return None if tracker is None else tracker.close()
