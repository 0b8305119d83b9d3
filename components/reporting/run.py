"""A run as its directory tells it: the files of docs/architecture.md section 7, read once, secrets masked."""

from __future__ import annotations

import json
import shlex
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from components.errors import UserError
from components.files import read_json
from components.reporting.journal import Journal, read_journal
from components.reporting.masking import mask, mask_command

Plain = dict[str, Any]

OPTIONAL = {
    "card.json": "the data card",
    "check.json": "the checks of the data",
    "sheet.png": "the sheet of data samples",
    "metrics.jsonl": "the curves",
    "summary.json": "where the training time went",
    "metrics.json": "the evaluation",
    "samples.npz": "the sample predictions",
}
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Run:
    """What a report is drawn from. A file that is absent is empty or None here, and its name is in `missing`.

    Attributes:
        record: run.json, secrets masked.
        card: card.json.
        check: check.json.
        summary: summary.json.
        metrics: metrics.json, `{split: {name: value}}`.
        journal: metrics.jsonl.
        samples: samples.npz, arrays with one row a sample.
        gallery: gallery.npz, what the task shows beside single samples; empty for most tasks.
        sheet: sheet.png.
        trials: trials.json, what a search before the training found; empty without one.
        missing: names of the optional files that are not there.
    """

    record: Plain
    card: Plain
    check: Plain
    summary: Plain
    metrics: dict[str, Plain]
    journal: Journal
    samples: dict[str, np.ndarray]
    gallery: dict[str, np.ndarray]
    sheet: bytes | None
    missing: tuple[str, ...]
    trials: Plain = field(default_factory=dict)

    @property
    def spec(self) -> Plain:
        """The run's frozen specification, plain."""
        spec: Plain = self.record.get("spec") or {}
        return spec

    @property
    def stages(self) -> dict[str, Plain]:
        """`{name: {status, seconds, key, why}}` in the order in which they ran."""
        stages: dict[str, Plain] = self.record.get("stages") or {}
        return stages

    @property
    def judged_split(self) -> str:
        """The split that the run is judged by: test, else the last one evaluated; "" when none was."""
        return "test" if "test" in self.metrics else next(reversed(self.metrics), "")


def load(directory: Path) -> Run:
    """Read a run directory.

    Raises:
        UserError: run.json is missing, or a file that is there cannot be read.
    """
    if not (directory / "run.json").is_file():
        raise UserError(
            "This is no run directory: run.json is missing.",
            received=directory,
            expected="the run/ directory that the report stage wrote",
            mend="run the pipeline, then give the directory `run/` beside its report.html",
        )
    journal = directory / "metrics.jsonl"
    return Run(
        record=_masked(_read_object(directory / "run.json")),
        card=_read_object(directory / "card.json"),
        check=_read_object(directory / "check.json"),
        summary=_read_object(directory / "summary.json"),
        metrics=_read_object(directory / "metrics.json"),
        journal=read_journal(journal) if journal.exists() else Journal((), (), (), 0),
        samples=_read_arrays(directory / "samples.npz"),
        gallery=_read_arrays(directory / "gallery.npz"),
        sheet=_read_png(directory / "sheet.png"),
        missing=tuple(name for name in OPTIONAL if not (directory / name).exists()),
        trials=_read_object(directory / "trials.json"),
    )


def _masked(record: Plain) -> Plain:
    """Mask everything but the stages, whose `key` is the address of a result and no secret."""
    command = record.get("command") or ""
    masked = {name: value if name == "stages" else mask(value, name) for name, value in record.items()}
    return {**masked, "command": mask_command(command if isinstance(command, str) else shlex.join(command))}


def _read_object(path: Path) -> Plain:
    if not path.exists():
        return {}
    try:
        value = read_json(path)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise _unreadable(path, str(error)) from error
    if not isinstance(value, dict):
        raise _unreadable(path, f"a JSON {type(value).__name__}, not an object")
    return value


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    if not path.exists():
        return {}
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, OSError, zipfile.BadZipFile, AttributeError) as error:  # AttributeError: a lone .npy has no `files`
        raise _unreadable(path, str(error)) from error


def _read_png(path: Path) -> bytes | None:
    if not path.exists():
        return None
    content = path.read_bytes()
    if not content.startswith(_PNG_SIGNATURE):
        raise _unreadable(path, "no PNG signature")
    return content


def _unreadable(path: Path, reason: str) -> UserError:
    return UserError(
        f"{path.name} of the run cannot be read.",
        received=f"{path}: {reason}",
        expected="the file as its stage wrote it",
        mend=f"run the pipeline again with the report stage, or remove {path.name} to draw the page without it",
    )
