"""What a word on the command line names: a checkpoint, wherever it was copied to, or a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.errors import UserError
from components.files import read_json, sha256_file
from components.training.pointer import resolve_pointer
from flows.lineage.records import Records
from flows.runs import chosen


@dataclass(frozen=True)
class Subject:
    """What is traced.

    Attributes:
        run_id: the run, None for a checkpoint of a training that no run on record has come to the end of.
        directory: the checkpoint that was named, None where a run was, or a single file.
        file: of the checkpoint that was named, None where a directory or a run was.
        sha256: of the named checkpoint's weights (or of the file), as they are now.
        train_key: of the training that made it.
    """

    run_id: str | None
    directory: Path | None = None
    file: Path | None = None
    sha256: str | None = None
    train_key: str | None = None


def find(records: Records, word: str) -> Subject:
    """Return what a word names: a path to a checkpoint, or a run's id or the beginning of one.

    Raises:
        UserError: it names nothing, or several things, or a checkpoint of another store.
    """
    path = Path(word)
    if word and path.exists():
        return _by_path(records, path.resolve())
    return Subject(chosen(word, records.run_ids, records.store.root))


def _by_path(records: Records, path: Path) -> Subject:
    runs = records.store.root.resolve() / "runs"
    if path.is_relative_to(runs) and path != runs:
        return Subject(chosen(path.relative_to(runs).parts[0], records.run_ids, records.store.root))
    directory, file = _checkpoint(path)
    if directory is None:
        assert file is not None
        return _by_content(records, Subject(None, file=file, sha256=sha256_file(file)))
    meta = read_meta(directory)
    weights = directory / str(meta.get("weights", "model.safetensors"))
    subject = Subject(None, directory, file, sha256_file(weights) if weights.is_file() else None)
    trained = records.store.root.resolve() / "stages" / "train"
    if directory.is_relative_to(trained):  # where it lies says whose it is, whatever became of its content
        return _of_training(records, subject, directory.relative_to(trained).parts[0], meta)
    return _by_content(records, subject, meta)


def _checkpoint(path: Path) -> tuple[Path | None, Path | None]:
    """The checkpoint's directory and the file in it that a path names; a file that was copied alone has no directory."""
    if path.is_dir():
        inner = path / "checkpoints"
        return resolve_pointer(inner if inner.is_dir() else path), None
    if path.name in ("latest", "best"):
        return resolve_pointer(path), None
    if (path.parent / "meta.json").is_file():
        return path.parent, path
    return None, path


def read_meta(directory: Path) -> dict[str, Any]:
    """What a checkpoint's meta.json says; nothing where it cannot be read."""
    try:
        meta = read_json(directory / "meta.json")
    except (OSError, ValueError):
        return {}
    return meta if isinstance(meta, dict) else {}


def _by_content(records: Records, subject: Subject, meta: dict[str, Any] | None = None) -> Subject:
    """Find a checkpoint that lies elsewhere by the sha256 of its weights."""
    assert subject.file is not None or subject.directory is not None
    held = records.checkpoints(subject.sha256) if subject.sha256 else []
    if held:
        return _of_training(records, subject, held[0][0], meta or {})
    if subject.sha256 and (runs := records.chosen(subject.sha256)):  # the training was removed, the runs are on record
        key = records.account(runs[0]).get("stages", {}).get("train", {}).get("key")
        return Subject(runs[0], subject.directory, subject.file, subject.sha256, key)
    claimed = (meta or {}).get("origin", {}).get("run_id")
    says = f"; its meta.json says that it is of {claimed}, so it was changed, or is of another store" if claimed else ""
    raise UserError(
        f"this store knows no such checkpoint{says}",
        received=f"{subject.file or subject.directory}, sha256 {str(subject.sha256)[:16]}...",
        expected=f"a checkpoint that was trained in {records.store.root}, or a copy of one",
        mend="name the store that it was trained in with store=/path/to/folder",
    )


def _of_training(records: Records, subject: Subject, folder: str, meta: dict[str, Any]) -> Subject:
    """The run of a training: the one that its checkpoint names, else the first that has it."""
    key = folder.partition(".")[0]  # it may still be going on, or have been put aside as damaged
    runs, origin = records.runs_of("train", key), meta.get("origin", {}).get("run_id")
    run_id = origin if origin in runs else runs[0] if runs else origin if origin in records.run_ids else None
    if run_id is None:
        raise UserError(
            "no run in this store has used this checkpoint's training",
            received=subject.file or subject.directory,
            expected=f"a run.json or a ledger entry with train/{key}",
            mend="`modelyard verify` tells what was removed",
        )
    return Subject(run_id, subject.directory, subject.file, subject.sha256, key)
