"""A model that stands before the gate: its evaluation on the data that both are judged on, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from components.files import read_json
from components.training.scores import SCORES, Columns, read_scores


@dataclass(frozen=True)
class Contender:
    """One of the two.

    Attributes:
        evaluation: the directory of its evaluate stage, on the data that both are judged on.
        trained_on: the prepared data that it was trained on; None where they are gone.
        size_bytes: of its weights.
        latency_milliseconds: of one sample, measured where the gate stands; None where it was not.
    """

    evaluation: Path
    trained_on: Path | None
    size_bytes: int
    latency_milliseconds: float | None = None

    @cached_property
    def metrics(self) -> dict[str, dict[str, Any]]:
        """`{split: {name: value}}` of the evaluation."""
        found: dict[str, dict[str, Any]] = read_json(self.evaluation / "metrics.json")
        return found

    def scores(self, split: str) -> Columns:
        """The scores of each sample of a split."""
        return read_scores(self.evaluation / SCORES, split)

    def value(self, split: str, name: str) -> float | None:
        """A metric that is one number; None where it was not measured."""
        found = self.metrics.get(split, {}).get(name)
        return float(found) if isinstance(found, (int, float)) else None
