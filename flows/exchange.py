"""What a store gives to a remote and takes from it: finished stages, the records of finished runs, the ledger's entries.

    stages/<stage>/<key>/<sha256>.<suffix>   a file, named by its content: never changed, the same from whoever writes it
    stages/<stage>/<key>/manifest.json       written last; without it there is no stage
    runs/<run_id>/run.json, uncommitted.patch
    ledger/<host>-<number>-<sha256[:8]>.json   one an entry

Beside each stage's and run's manifest an empty file says whether the remote has it: an unchanged command looks at these and asks nobody.
A remote may fail; a run does not for that.
"""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from components.errors import UserError
from components.files import canonical_json, digest, read_json, sha256_file, write_json, write_text
from flows.adapters.remote import Remote, Unreachable
from flows.ledger import Ledger
from flows.record import sha256
from flows.store import FORMAT, MANIFEST

_RUN, _PATCH = "run.json", "uncommitted.patch"
_ELSEWHERE = ("data",)  # stages whose files DVC owns; it has remotes of its own

Announce = Callable[[str], None]


class _Refused(Exception):
    """What a remote holds under a name is not what it must be."""


class Exchange:
    """A store's dealings with one remote.

    Args:
        root: the store's.
        remote: where stages go to and come from.
    """

    def __init__(self, root: Path, remote: Remote) -> None:
        self._root, self._remote, self.url = root, remote, remote.url
        mark = digest(remote.url, 8)
        self._pushed, self._unpushed = f"pushed-{mark}", f"unpushed-{mark}"  # a store may change its remote
        self._cursor = root / "remotes" / f"{mark}.json"
        self._refused: set[str] = set()  # folders that are written anew, whatever they hold
        self._down = False

    def pull(self, stage: str, key: str, into: Path, announce: Announce) -> dict[str, Any] | None:
        """Download a stage's files and return its manifest, None when the remote has no such stage, or a damaged one, which is named.

        Args:
            into: directory for the files; what an earlier attempt left there is made use of.
            announce: takes one line for the person who watches.

        Raises:
            UserError: the manifest was written by a newer modelyard.
        """
        if self._down or stage in _ELSEWHERE:
            return None
        folder = f"stages/{stage}/{key}"
        with self._may_fail(announce):
            started = time.monotonic()
            text = self._remote.read(f"{folder}/{MANIFEST}")
            if text is None:
                return None
            try:
                plain = _manifest(text, stage, key, self.url)
                plain["files"] = self._receive(folder, plain["files"], into)
            except _Refused as refusal:
                self._refused.add(folder)
                announce(f"{stage}: {self.url}/{folder}/{refusal}: not used")
                return None
            announce(f"{stage}: taken from {self.url}, {_amount(plain['files'])} in {time.monotonic() - started:.1f} s")
            return {**plain, "from": self.url}
        return None

    def push(self, stage: str, key: str, source: str | None, announce: Announce) -> None:
        """Upload a finished stage, unless the remote has it.

        Args:
            source: the remote that it was taken from, if any.
            announce: takes one line for the person who watches.
        """
        folder = self._root / "stages" / stage / key
        if stage in _ELSEWHERE or (folder / self._pushed).exists():
            return
        if source == self.url:
            self._mark(folder)
            return
        (folder / self._unpushed).touch()
        if not self._down:
            with self._may_fail(announce):
                self._push_stage(folder, announce)

    def finish(self, run: Path, announce: Announce) -> None:
        """Upload the record of a finished run, and whatever earlier runs could not.

        Args:
            run: directory of run.json.
            announce: takes one line for the person who watches.
        """
        record = sha256_file(run / _RUN)
        if _text(run / self._pushed) == record:
            return
        (run / self._unpushed).touch()
        if self._down:
            return
        with self._may_fail(announce):
            for left in self._root.glob(f"stages/*/*/{self._unpushed}"):
                if "." not in left.parent.name:  # else it runs, or was put aside
                    self._push_stage(left.parent, announce)
            self._push_ledger()
            for left in self._root.glob(f"runs/*/{self._unpushed}"):
                self._push_run(left.parent)

    @contextmanager
    def _may_fail(self, announce: Announce) -> Iterator[None]:
        try:
            yield
        except (Unreachable, OSError) as error:
            self._down = True  # until the next command: no stage waits for it again
            announce(f"warning: {error}; the run goes on here, and the next one pushes what is left")

    def _receive(self, folder: str, files: dict[str, Any], into: Path) -> dict[str, Any]:
        """Download what is not there yet, and return the entries of the manifest with this disk's times."""
        present = self._remote.sizes(folder)
        for entry, name in ((e, _object(n, e)) for n, e in files.items()):
            if present.get(name) != entry["bytes"]:
                found = "is absent" if name not in present else f"has {present[name]} bytes"
                raise _Refused(f"{name} {found}, expected {entry['bytes']} bytes")
        for path in [p for p in into.rglob("*") if p.is_file() and p.relative_to(into).as_posix() not in files]:
            path.unlink()
        absent = {n: e for n, e in files.items() if not _holds(into / n, e)}
        self._remote.receive({into / n: f"{folder}/{_object(n, e)}" for n, e in absent.items()})
        for name, entry in absent.items():
            if not _holds(into / name, entry):
                (into / name).unlink(missing_ok=True)
                raise _Refused(f"{_object(name, entry)} has another sha256 than its name")
        return {n: {**e, "mtime_ns": (into / n).stat().st_mtime_ns} for n, e in files.items()}

    def _push_stage(self, folder: Path, announce: Announce) -> None:
        started, name = time.monotonic(), folder.relative_to(self._root).as_posix()
        plain = read_json(folder / MANIFEST)
        plain.pop("from", None)
        present = {} if name in self._refused else self._remote.sizes(name)
        if MANIFEST not in present:
            files = {_object(n, e): (folder / n, e) for n, e in plain["files"].items()}
            for path, entry in files.values():
                if not _holds(path, entry):
                    announce(f"{plain['stage']}: {path} is not what its manifest says: the stage is not pushed")
                    return
            self._remote.send({f"{name}/{o}": path for o, (path, entry) in files.items() if present.get(o) != entry["bytes"]})
            present = self._remote.sizes(name)
            if short := [o for o, (_, entry) in files.items() if present.get(o) != entry["bytes"]]:
                raise Unreachable(f"{self.url}/{name}/{short[0]} was written, and is not there whole")
            self._remote.write({f"{name}/{MANIFEST}": canonical_json(plain).encode()})
            announce(f"{plain['stage']}: pushed to {self.url}, {_amount(plain['files'])} in {time.monotonic() - started:.1f} s")
        self._mark(folder)

    def _push_ledger(self) -> None:
        ledger = Ledger(self._root)
        try:
            offset = int(read_json(self._cursor)["ledger_bytes"])
        except (OSError, ValueError, KeyError, TypeError):
            offset = 0
        end, host = ledger.size(), socket.gethostname()
        if end > offset:
            entries = list(ledger.entries(offset))
            self._remote.write({f"ledger/{host}-{e.number}-{e.sha256[:8]}.json": canonical_json(vars(e)).encode() for e in entries})
            write_json(self._cursor, {"remote": self.url, "ledger_bytes": end})

    def _push_run(self, run: Path) -> None:
        """Upload a run's record, unless the remote tells of the same stages: who ran them tells more than who took them over."""
        name, content = f"runs/{run.name}", (run / _RUN).read_bytes()
        told = self._remote.read(f"{name}/{_RUN}")
        if told is None or _stages(told) != _stages(content):
            if (run / _PATCH).is_file() and json.loads(content).get("patch_sha256"):
                self._remote.send({f"{name}/{_PATCH}": run / _PATCH})
            self._remote.write({f"{name}/{_RUN}": content})
        write_text(run / self._pushed, sha256(content))
        (run / self._unpushed).unlink(missing_ok=True)

    def _mark(self, folder: Path) -> None:
        (folder / self._pushed).touch()
        (folder / self._unpushed).unlink(missing_ok=True)


def _manifest(text: bytes, stage: str, key: str, url: str) -> dict[str, Any]:
    """Read what is said to be the manifest of a stage. It comes from elsewhere: no file's name may lead out of the stage's directory."""
    try:
        plain: dict[str, Any] = json.loads(text)
        written = int(plain["format"])
        files: dict[str, Any] = {str(n): {"sha256": str(e["sha256"]), "bytes": int(e["bytes"])} for n, e in plain["files"].items()}
        ours = (plain["stage"], plain["key"], digest(plain["parts"]), plain["directory"]) == (stage, key, key, ".")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _Refused(f"{MANIFEST} is no manifest") from error
    if written > FORMAT:
        raise UserError(
            "the remote's stage was written by a newer modelyard",
            received=f"format {written} of {stage} {key} in {url}",
            expected=f"format {FORMAT} or older",
            mend="update modelyard, or go without the remote: remote=null",
        )
    if not ours:
        raise _Refused(f"{MANIFEST} is that of another stage")
    if strange := [n for n, e in files.items() if not _is_inside(n) or not re.fullmatch("[0-9a-f]{64}", e["sha256"])]:
        raise _Refused(f"{MANIFEST} names a file {strange[0]!r}")
    return {**plain, "files": files}


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return name not in ("", ".", MANIFEST) and not path.is_absolute() and ".." not in path.parts


def _object(name: str, entry: dict[str, Any]) -> str:
    """The name of a file's object. It keeps its suffix, by which a browser knows a page from a picture."""
    return f"{entry['sha256']}{PurePosixPath(name).suffix}"


def _holds(path: Path, entry: dict[str, Any]) -> bool:
    return path.is_file() and path.stat().st_size == entry["bytes"] and sha256_file(path) == entry["sha256"]


def _amount(files: dict[str, Any]) -> str:
    return f"{len(files)} files, {sum(e['bytes'] for e in files.values()) / 2**20:.1f} MiB"


def _stages(record: bytes) -> dict[str, str] | None:
    """The keys of a finished run's stages."""
    try:
        told = json.loads(record)
        return {name: stage["key"] for name, stage in told["stages"].items()} if told["status"] == "finished" else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
