"""Where a training works."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from components.spec.schema import Spec
from components.training import journal
from components.training.checkpoint import Checkpoints
from components.training.inputs import Inputs
from components.training.ownership import Ownership
from components.training.session import Session


@dataclass(frozen=True)
class Place:
    """What a training is given beside its specification.

    Args:
        session: this worker's place in the group.
        data: the prepared data set.
        directory: that the training writes to.
        origin: plain data that each checkpoint's meta.json repeats.
        upstream: name -> checkpoint directory of a run that this one builds on.
        owner: the right to write there, where another attempt may take over.
        content_sha256: the data's version, which the data set must have whenever it is opened.
    """

    session: Session
    data: Path
    directory: Path
    origin: Mapping[str, Any] = field(default_factory=dict)
    upstream: Mapping[str, str] = field(default_factory=dict)
    owner: Ownership | None = None
    content_sha256: str | None = None

    def inputs(self, split: str | tuple[str, ...], spec: Spec) -> Inputs:
        """Open splits of the data."""
        return Inputs(self.data, split, spec, self.session, self.content_sha256)

    def checkpoints(self, keep_best: int = 1, mode: Literal["max", "min"] = "max") -> Checkpoints:
        """Return the training's checkpoints, written only while it is ours."""
        return Checkpoints(self.directory / "checkpoints", keep_best, mode, self.owner)

    @contextmanager
    def journal(self, step: int) -> Iterator[journal.Journal | None]:
        """Open the journal at a step, what was written after it taken back; None on other ranks than 0, which write nothing."""
        if self.session.rank > 0:
            yield None
            return
        path = self.directory / "metrics.jsonl"
        journal.rewind(path, step)
        with closing(journal.Journal(path)) as opened:
            yield opened
