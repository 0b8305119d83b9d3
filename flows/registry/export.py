"""The files of a version: what who serves the model needs (components/export)."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from flows.registry.candidate import Candidate


def export_candidate(candidate: Candidate, directory: Path, verdict: dict[str, Any]) -> None:
    """Write a candidate's model into an empty directory."""
    shutil.copyfile(Path(candidate.checkpoint) / "model.safetensors", directory / "model.safetensors")
