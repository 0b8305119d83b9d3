"""Stages keyed by content: `<store>/stages/<stage>/<key>/`, whole when `manifest.json` is there.

A stage runs in `<key>.partial/` (kept when it is killed: training resumes in it), under a lease (flows/lease.py); its manifest, with the sha256 of
every file, is written last, then the directory is renamed, then the ledger says so. Killed between two of these, the next attempt goes on with the
one that is missing. Imports nothing heavy: the answer "nothing to do" must come before torch is imported.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.errors import UserError
from components.files import digest, read_json, read_object, sha256_file, sha256_files, write_json
from components.training.ownership import Ownership
from flows.exclusive import exclusive, replace_json
from flows.lease import Lease, remove_dead
from flows.ledger import Ledger

if TYPE_CHECKING:
    from flows.exchange import Exchange

FORMAT = 1
MANIFEST = "manifest.json"
_FIGURES = 30  # of each stage of an experiment
RECORDED = "ledger.json"  # beside the manifest: where the ledger's entry will be, then its number; `removing`: where that of its removal will be


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
    source: str | None = None  # the remote that it was taken from


@dataclass
class Partial:
    """A stage that runs now: write into `directory`, then the store commits it with `outputs`."""

    directory: Path
    ownership: Ownership  # to be checked by who writes here from other processes
    outputs: dict[str, Any] = field(default_factory=dict)
    files_in: Path | None = None  # where the files are, when something else owns them (DVC)


class Store:
    """The stages and runs under one root directory.

    Args:
        root: the directory.
        exchange: with a remote, where a stage that is not here may be.
    """

    def __init__(self, root: Path, exchange: Exchange | None = None) -> None:
        self.root, self.exchange = root, exchange
        self.ledger = Ledger(root)

    def find(self, stage: str, parts: dict[str, Any]) -> Manifest | None:
        """Return the finished stage that was made from `parts`, verified, or None.

        Raises:
            UserError: the manifest was written by a newer modelyard.
        """
        return self._load(stage, digest(parts))

    def holds(self, manifest: Manifest) -> bool:
        """Tell whether a stage that was found is still there."""
        return (self.root / "stages" / manifest.stage / manifest.key / MANIFEST).is_file()

    @contextmanager
    def run(self, stage: str, parts: dict[str, Any], on_wait: Callable[[str], None]) -> Iterator[Partial | Manifest]:
        """Yield a Partial to fill, committed when the block ends well; or the Manifest when another process finished the stage meanwhile,
        or another machine, whose files the remote holds.

        Args:
            stage: name.
            parts: what the key is the hash of.
            on_wait: called with a sentence when another process runs the same stage, or when the remote has something to say.
        """
        key = digest(parts)
        final = self.root / "stages" / stage / key
        with Lease(self.lease(stage, key), on_wait) as lease:
            found = self._load(stage, key) or self._adopt(stage, key) or self._pull(stage, key, lease.ownership, on_wait)
            if found is not None:
                yield found
                return
            partial = Partial(final.with_name(f"{key}.partial"), lease.ownership)
            partial.directory.mkdir(parents=True, exist_ok=True)
            _sweep(partial.directory)
            started = time.monotonic()
            yield partial
            lease.ownership.require()
            self._commit(stage, key, parts, partial, final, time.monotonic() - started)

    @property
    def mailboxes(self) -> Path:
        """Where worker groups that live in processes of their own get their jobs from, a directory each."""
        return self.root / "mailboxes"

    def lease(self, stage: str, key: str) -> Path:
        """The file that names who works on a stage, while somebody does."""
        return self.root / "leases" / f"{stage}-{key}.json"

    def enter(self, manifest: Manifest, **context: Any) -> None:
        """Enter a finished stage in the ledger, once, however often it is asked for and whoever was killed in between.

        Args:
            context: what else the entry says (run_id, experiment).
        """
        folder = self.root / "stages" / manifest.stage / manifest.key
        remove_dead(self.lease(manifest.stage, manifest.key))
        if _is_entered(read_object(folder / RECORDED)):
            return
        sha256 = sha256_file(folder / MANIFEST)
        source = {} if manifest.source is None else {"from": manifest.source}
        body = {"stage": manifest.stage, "key": manifest.key, "manifest_sha256": sha256, "seconds": manifest.seconds, **source, **context}
        self._enter(folder, "stage", body, ("manifest_sha256",))

    def enter_run(self, folder: Path, body: dict[str, Any]) -> None:
        """Enter a finished run in the ledger, once for the stages that it is made of, likewise.

        Args:
            folder: the run's.
            body: what the entry says; `run_id` and `stages` tell it from others.
        """
        self._enter(folder, "run", body, ("run_id", "stages"))

    def _enter(self, folder: Path, kind: str, body: dict[str, Any], identity: tuple[str, ...]) -> None:
        wanted = {name: body[name] for name in identity}
        of = digest(wanted)
        with exclusive(self.root / ".enter.lock"):
            begun = read_object(folder / RECORDED)
            if "removing" in begun:  # somebody began to remove it, and was killed before it was gone (flows/housekeeping/removal.py)
                begun = {} if self.is_removed(body["stage"], body["key"], begun.pop("removing")) else begun
                replace_json(folder / RECORDED, begun)
            if begun.get("of") != of:  # a run of this id that is made of other stages now
                begun = {}
            if _is_entered(begun):
                return
            entry = None
            if "offset" in begun:  # somebody was killed in here: the entry is written, after that place, or it is not
                after = self.ledger.entries(begun["offset"])
                entry = next((e for e in after if e.kind == kind and {name: e.body.get(name) for name in identity} == wanted), None)
            if entry is None:
                replace_json(folder / RECORDED, {"of": of, "offset": self.ledger.size()})
                entry = self.ledger.append(kind, body)
            replace_json(folder / RECORDED, {"of": of, "number": entry.number, "sha256": entry.sha256})

    def enter_removal(self, stage: str, key: str) -> None:
        """Enter in the ledger, once, that a stage will be removed."""
        path = self.root / "stages" / stage / key / RECORDED
        begun = read_object(path)
        if "removing" in begun and self.is_removed(stage, key, begun["removing"]):
            return
        replace_json(path, {**begun, "removing": self.ledger.size()})
        self.ledger.append("removed", {"stage": stage, "key": key})

    def is_removed(self, stage: str, key: str, offset: int) -> bool:
        """Tell whether the ledger says, after an offset of its file, that a stage was removed."""
        return any(e.kind == "removed" and e.body == {"stage": stage, "key": key} for e in self.ledger.entries(offset))

    def write(self, path: Path, value: Any) -> None:
        """Write a JSON file of the store that several processes may write."""
        with exclusive(self.root / ".lock"):
            replace_json(path, value)

    def note_last(self, stage: str, key: str, experiment: str) -> None:
        """Remember the newest stage of an experiment, for `last_parts`: looking through the runs would take longer the more there are."""
        path, now = self._last(stage, experiment), {"key": key}
        if _content(path) != now:  # an unchanged run writes nothing
            self.write(path, now)

    def last_parts(self, stage: str, experiment: str) -> dict[str, Any] | None:
        """Return what the stage was made from the last time that it was done for an experiment, to say what changed since."""
        try:
            key = read_json(self._last(stage, experiment))["key"]
            parts: dict[str, Any] = read_json(self.root / "stages" / stage / key / MANIFEST)["parts"]
        except (OSError, ValueError, KeyError, TypeError):  # never, or it has been removed since
            return None
        return parts

    def note_figures(self, stage: str, experiment: str, figures: dict[str, Any]) -> None:
        """Remember what a stage took, the newest first, beside those of the same experiment."""
        path = self._last("seconds", experiment)
        with exclusive(self.root / ".lock"):
            before = read_object(path)
            replace_json(path, {**before, stage: [figures, *before.get(stage, [])][:_FIGURES]})

    def figures(self, stage: str, experiment: str) -> list[dict[str, Any]]:
        """Return what `note_figures` remembers, the newest first."""
        found: list[dict[str, Any]] = read_object(self._last("seconds", experiment)).get(stage, [])
        return found

    def _last(self, stage: str, experiment: str) -> Path:
        return self.root / "last" / experiment / f"{stage}.json"

    def _adopt(self, stage: str, key: str) -> Manifest | None:
        """Commit what an attempt had finished when it was killed between its manifest and the rename."""
        final = self.root / "stages" / stage / key
        found = self._load(stage, f"{key}.partial")
        if found is None:
            return None
        _put_aside(final)
        os.replace(final.with_name(f"{key}.partial"), final)
        return self._load(stage, key)

    def _pull(self, stage: str, key: str, ownership: Ownership, announce: Callable[[str], None]) -> Manifest | None:
        """Take a stage from the remote. What an attempt of our own has written so far stays until it is whole."""
        final = self.root / "stages" / stage / key
        partial = final.with_name(f"{key}.partial")
        arriving = partial / ".tmp-pull"  # removed with all that is half-written, should the stage be run after all
        plain = None if self.exchange is None else self.exchange.pull(stage, key, arriving, announce)
        if plain is None:
            return None
        ownership.require()
        _put_aside(final)
        write_json(arriving / MANIFEST, plain)
        os.replace(arriving, final)
        shutil.rmtree(partial, ignore_errors=True)  # what is left of it is nobody's: the stage is there
        return self._load(stage, key)

    def read(self, stage: str, key: str) -> Manifest | None:
        """Return what a stage's manifest says, its files not looked at; None when it is absent or damaged.

        Raises:
            UserError: it was written by a newer modelyard.
        """
        path = self.root / "stages" / stage / key / MANIFEST
        if not path.is_file():
            return None
        try:
            plain = read_json(path)
            written = int(plain["format"])
        except (OSError, ValueError, KeyError, TypeError):  # damaged, or removed just now: as good as absent, and kept aside if it runs again
            return None
        if written > FORMAT:
            raise UserError(
                "the store was written by a newer modelyard",
                received=f"format {written} in {path}",
                expected=f"format {FORMAT} or older",
                mend="update modelyard, or give another folder with store=/path/to/folder",
            )
        try:
            return _manifest(stage, key, path.parent, plain)
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    def _load(self, stage: str, key: str) -> Manifest | None:
        manifest = self.read(stage, key)
        if manifest is None:
            return None
        return manifest if all(_unchanged(manifest.directory / name, entry) for name, entry in manifest.files.items()) else None

    def _commit(self, stage: str, key: str, parts: dict[str, Any], partial: Partial, final: Path, seconds: float) -> None:
        directory = partial.files_in or partial.directory
        files = {path.relative_to(directory).as_posix(): asdict(entry) for path, entry in _entries(directory)}
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
        _put_aside(final)
        write_json(partial.directory / MANIFEST, plain)
        os.replace(partial.directory, final)


def _is_entered(told: dict[str, Any]) -> bool:
    return bool(told.get("number")) and "removing" not in told


def _content(path: Path) -> Any:
    """What a JSON file holds; None when it is missing or damaged."""
    try:
        return read_json(path)
    except (OSError, ValueError):
        return None


def _put_aside(final: Path) -> None:
    """Where a stage was, but its files were damaged, keep the evidence."""
    if final.exists():
        os.replace(final, final.with_name(f"{final.name}.damaged-{time.time_ns()}"))


def _sweep(directory: Path) -> None:
    """Remove what a killed process left half-written, lest it be committed: temporary files, a manifest of other files than there are."""
    for path in [*directory.rglob(".tmp-*"), directory / MANIFEST]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _manifest(stage: str, key: str, folder: Path, plain: dict[str, Any]) -> Manifest:
    files = {name: FileEntry(**entry) for name, entry in plain["files"].items()}
    directory = (folder / plain["directory"]).resolve()
    return Manifest(stage, key, plain["parts"], plain["outputs"], directory, files, plain["seconds"], plain["created"], plain.get("from"))


def _entries(directory: Path) -> Iterator[tuple[Path, FileEntry]]:
    """Every file of a directory with what the manifest says of it."""
    paths = [path for path in sorted(directory.rglob("*")) if path.is_file()]
    for path, sha256 in zip(paths, sha256_files(paths), strict=True):
        status = path.stat()
        yield path, FileEntry(sha256, status.st_size, status.st_mtime_ns)


def _unchanged(path: Path, entry: FileEntry) -> bool:
    """True when a file is what the manifest says. Its time of change spares reading it; a copied store is read once a look-up."""
    try:
        status = path.stat()
        if status.st_size != entry.bytes:
            return False
        return status.st_mtime_ns == entry.mtime_ns or sha256_file(path) == entry.sha256
    except OSError:
        return False
