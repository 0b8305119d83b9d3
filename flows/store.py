"""Stages keyed by content: `<store>/stages/<stage>/<key>/`, whole when `manifest.json` is there.

A stage runs in `<key>.partial/` (kept when it is killed: training resumes in it), under a file lock; its manifest, with the sha256 of every
file, is written last, then the directory is renamed. Standard library only: the answer "nothing to do" must come before torch is imported.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from components.errors import UserError
from components.files import digest, read_json, sha256_file, write_json

FORMAT = 1
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class FileEntry:
    sha256: str
    bytes: int
    mtime_ns: int


@dataclass(frozen=True)
class Manifest:
    """What a finished stage was made from and what it made."""

    stage: str
    key: str
    parts: dict[str, Any]  # what the key is the hash of
    outputs: dict[str, Any]
    directory: Path  # where its files are
    files: dict[str, FileEntry]
    seconds: float
    created: str


@dataclass
class Partial:
    """A stage that runs now: write into `directory`, then the store commits it with `outputs`."""

    directory: Path
    outputs: dict[str, Any] = field(default_factory=dict)
    files_in: Path | None = None  # where the files are, when something else owns them (DVC)


class Store:
    """The stages and runs under one root directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def find(self, stage: str, parts: dict[str, Any]) -> Manifest | None:
        """Return the finished stage that was made from `parts`, verified, or None.

        Raises:
            UserError: the manifest was written by a newer modelyard.
        """
        return self._load(stage, digest(parts))

    @contextmanager
    def run(self, stage: str, parts: dict[str, Any], on_wait: Callable[[str], None]) -> Iterator[Partial | Manifest]:
        """Yield a Partial to fill, committed when the block ends well; or the Manifest when another process finished the stage meanwhile.

        Args:
            stage: name.
            parts: what the key is the hash of.
            on_wait: called once with a sentence when another process runs the same stage.
        """
        key = digest(parts)
        final = self.root / "stages" / stage / key
        with self._lock(f"{stage}-{key}", on_wait):
            found = self._load(stage, key)
            if found is not None:
                yield found
                return
            partial = Partial(final.with_name(f"{key}.partial"))
            partial.directory.mkdir(parents=True, exist_ok=True)
            _sweep(partial.directory)
            started = time.monotonic()
            yield partial
            self._commit(stage, key, parts, partial, final, time.monotonic() - started)

    def last_parts(self, stage: str, experiment: str) -> dict[str, Any] | None:
        """Return what the stage was made from in the newest earlier run of an experiment, to say what changed since."""
        runs = (self.root / "runs").glob(f"{experiment.replace('/', '-')}-*/run.json")
        for path in sorted(runs, key=lambda p: p.stat().st_mtime, reverse=True):
            record = read_json(path)
            key = record.get("stages", {}).get(stage, {}).get("key")
            manifest = self.root / "stages" / stage / str(key) / MANIFEST
            if manifest.is_file() and record["experiment"] == experiment:  # the pattern also finds `<experiment>-something`
                parts: dict[str, Any] = read_json(manifest)["parts"]
                return parts
        return None

    def _load(self, stage: str, key: str) -> Manifest | None:
        path = self.root / "stages" / stage / key / MANIFEST
        if not path.is_file():
            return None
        try:
            plain = read_json(path)
            written = int(plain["format"])
        except (ValueError, KeyError, TypeError):  # damaged: as good as absent, and kept aside when the stage has run again
            return None
        if written > FORMAT:
            raise UserError(
                "the store was written by a newer modelyard",
                received=f"format {written} in {path}",
                expected=f"format {FORMAT} or older",
                mend="update modelyard, or give another folder with store=/path/to/folder",
            )
        try:
            manifest = _manifest(stage, key, path.parent, plain)
        except (ValueError, KeyError, TypeError, AttributeError):
            return None
        return manifest if all(_unchanged(manifest.directory / name, entry) for name, entry in manifest.files.items()) else None

    def _commit(self, stage: str, key: str, parts: dict[str, Any], partial: Partial, final: Path, seconds: float) -> None:
        directory = partial.files_in or partial.directory
        files = {p.relative_to(directory).as_posix(): asdict(_entry(p)) for p in sorted(directory.rglob("*")) if p.is_file()}
        plain = {
            "format": FORMAT,
            "stage": stage,
            "key": key,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(seconds, 3),
            "directory": "." if partial.files_in is None else os.path.relpath(partial.files_in, final),
            "parts": parts,
            "outputs": partial.outputs,
            "files": files,
        }
        if final.exists():  # it was there, but its files were damaged: keep the evidence aside
            os.replace(final, final.with_name(f"{key}.damaged-{time.time_ns()}"))
        write_json(partial.directory / MANIFEST, plain)
        os.replace(partial.directory, final)

    @contextmanager
    def _lock(self, name: str, on_wait: Callable[[str], None]) -> Iterator[None]:
        """Hold a lock that the kernel gives back when the process dies, however it dies."""
        path = self.root / "locks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a+") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                on_wait(f"another process is running {name}; waiting for it")
                fcntl.flock(stream, fcntl.LOCK_EX)
            yield


def _sweep(directory: Path) -> None:
    """Remove what a killed process left half-written, lest it be committed: temporary files, a manifest that was not renamed."""
    for path in [*directory.rglob(".tmp-*"), directory / MANIFEST]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _manifest(stage: str, key: str, folder: Path, plain: dict[str, Any]) -> Manifest:
    files = {name: FileEntry(**entry) for name, entry in plain["files"].items()}
    directory = (folder / plain["directory"]).resolve()
    return Manifest(stage, key, plain["parts"], plain["outputs"], directory, files, plain["seconds"], plain["created"])


def _entry(path: Path) -> FileEntry:
    status = path.stat()
    return FileEntry(sha256_file(path), status.st_size, status.st_mtime_ns)


def _unchanged(path: Path, entry: FileEntry) -> bool:
    """True when a file is what the manifest says. Its time of change spares reading it; a copied store is read once a look-up."""
    try:
        status = path.stat()
    except OSError:
        return False
    if status.st_size != entry.bytes:
        return False
    return status.st_mtime_ns == entry.mtime_ns or sha256_file(path) == entry.sha256
