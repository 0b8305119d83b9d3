"""The W&B run of a pipeline run's training: begun when it trains, ended with the evaluation's figures, one whatever the number of attempts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

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
        directory: the pipeline run's.
        group: the pipeline run's id.
    """

    def __init__(self, spec: Spec, directory: Path, group: str) -> None:
        self._spec, self._directory, self._group = spec, directory, group
        self._tracker: Tracker | None = None

    def begin(self, key: str, journal: Path) -> None:
        """Start W&B on the journal of a train stage, unless tracking is disabled."""
        if tracking_mode(self._spec.tracking) == "disabled":
            return
        order = {
            "id": tracking_id(key),
            "group": self._group,
            "name": f"train/{self._spec.experiment}",
            "journal": str(journal),
            "config": to_plain(self._spec),
            "tags": [self._spec.experiment.partition("/")[0], self._spec.data.name],
        }
        self._directory.mkdir(parents=True, exist_ok=True)
        self._tracker = Tracker(self._spec.tracking, self._directory, order)

    def finish(self, key: str, journal: Path, metrics: Mapping[str, Mapping[str, float]]) -> None:
        """Hand over the final figures. Where an attempt that was killed has left the tracking undone, it is done again, under the same id."""
        if self._tracker is None and is_unfinished(self._directory, tracking_id(key)):
            self.begin(key, journal)
        if self._tracker is not None:
            self._tracker.finish({f"{split}/{name}": value for split, found in metrics.items() for name, value in found.items()})

    def close(self) -> str | None:
        """Wait a bounded time for W&B to end. Returns a sentence when something was not tracked."""
        tracker, self._tracker = self._tracker, None
        return None if tracker is None else tracker.close()
