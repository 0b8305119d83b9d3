"""What a training's journal tells of the attempts that it was made in, those included that were killed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.training.journal import read

JOURNAL = "metrics.jsonl"
_STEP = "step_"  # of a checkpoint's directory


@dataclass
class Stretch:
    """From one start of a training to its next, or its end.

    Attributes:
        token: of the attempt.
        at: when it started, seconds since 1970.
        device: by name.
        began, reached: seconds of training, over all attempts, at its start and at the last record of it.
        kept: of the seconds between, those that were not lost.
        steps: that were lost.
    """

    token: str | None
    at: float
    device: str
    began: float
    reached: float
    kept: float = 0.0
    steps: int = 0

    @property
    def lost(self) -> float:
        """Seconds of steps that had to be made again."""
        return self.reached - self.began - self.kept

    @property
    def heard(self) -> float:
        """When it was heard of last, seconds since 1970."""
        return self.at + self.reached - self.began


def stretches(directory: Path, *, ended: bool) -> list[Stretch]:
    """Return the stretches of all journals of a train stage (a refit and an ensemble's members have their own).

    Args:
        directory: of the stage, finished or not.
        ended: the training has come to its end. If not, what was made since the newest checkpoint would be lost now.
    """
    found: list[Stretch] = []
    for path in sorted(directory.rglob(JOURNAL)):
        found += _stretches(read(path), None if ended else _newest_checkpoint(path.parent))
    return found


def _stretches(records: Sequence[dict[str, Any]], checkpoint: int | None) -> list[Stretch]:
    """Those of one journal; `checkpoint`: what was written after this step is lost."""
    found: list[Stretch] = []
    saved = 0.0
    for record in records:
        seconds = float(record.get("seconds", 0.0))
        if record.get("name") == "start":
            told = Stretch(record.get("attempt"), float(record.get("at", 0.0)), record.get("device", "cpu"), seconds, seconds)
            found.append(told)
        elif found and record.get("name") == "lost":
            last = found[-1]
            last.reached = max(last.reached, float(record["reached_seconds"]))
            last.kept, last.steps = max(0.0, seconds - last.began), int(record["steps"])
        elif found:
            last = found[-1]
            last.reached = max(last.reached, seconds)
            if checkpoint is None or record["step"] <= checkpoint:
                saved = max(saved, seconds)
    for stretch, following in zip(found, [*found[1:], None], strict=True):
        if stretch.steps == 0:  # nothing was lost when it ended; of the last one, nobody has gone on yet
            stretch.kept = (stretch.reached if following is not None or checkpoint is None else max(saved, stretch.began)) - stretch.began
    return found


def _newest_checkpoint(directory: Path) -> int:
    """The step of the newest checkpoint beside a journal; 0 before the first."""
    names = [p.name.removeprefix(_STEP) for p in (directory / "checkpoints").glob(f"{_STEP}*")]
    return max((int(name) for name in names if name.isdigit()), default=0)
