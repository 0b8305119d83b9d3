"""The files of a version: what who serves the model needs (components/export). Imports torch only when it exports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.files import read_object
from flows.registry.candidate import Candidate


def export_candidate(candidate: Candidate, directory: Path, verdict: dict[str, Any] | None) -> None:
    """Write a candidate's model into an empty directory.

    Args:
        verdict: of the gate, for the model card; None where it is not judged yet.

    Raises:
        RunError: what was written does not answer as the model does.
    """
    from components.export.export import ExportRequest, export

    record, done = candidate.record, candidate.done
    export(
        ExportRequest(
            spec=candidate.spec,
            data=done["data"].directory,
            checkpoint=Path(candidate.checkpoint),
            directory=directory,
            upstream=candidate.upstream,
            metrics=read_object(done["evaluate"].directory / "metrics.json"),
            check=read_object(done["check"].directory / "check.json"),
            origin={"run_id": candidate.run_id, **{name: record.get(name) for name in ("git", "environment", "data")}, "gate": verdict},
        )
    )
