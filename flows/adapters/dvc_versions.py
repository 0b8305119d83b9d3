"""An earlier version of prepared data, from DVC's cache: data/prepared/<key> holds only the newest."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from components.data.card import CARD_NAME
from components.data.params import PREPARED
from components.errors import RunError
from components.files import read_json, read_object
from flows.lease import is_dead, write_holder
from flows.record import dvc_version
from flows.store import Manifest, Store

_PREFIX, _HOLDER = "modelyard-data-", "holder.json"


@contextmanager
def held(root: Path, store: Store, data: Manifest, *, apart: bool = False) -> Iterator[Manifest]:
    """Hold the data that a data stage made, for the block: its manifest, with a directory that has this version now.

    While a training goes on somebody may prepare newer data in the place of its own; it is evaluated and judged on its own all the same.

    Args:
        apart: from DVC's cache if they are there, for a block that opens them more than once: data/prepared may change while it lasts.

    Raises:
        RunError: neither the project nor DVC's cache has this version any more.
    """
    here = store.find(data.stage, data.parts) is not None  # each file is looked at
    if here and not apart:
        yield data
        return
    named = named_data(root, data)
    with _in_cache(root, named) as directory:
        if directory is None and not here:
            raise RunError(
                f"the data were prepared anew or damaged meanwhile, and DVC's cache has no version {named['content_sha256'][:12]} of {named['key']}: "
                "run the same command again, which begins with the newest data"
            )
        yield data if directory is None else replace(data, directory=directory)


def named_data(root: Path, data: Manifest) -> dict[str, Any]:
    """Return what names the version that a data stage made: `key`, `content_sha256` and `dvc` {raw, prepared}."""
    outputs, key = data.outputs, Path(data.outputs["directory"]).name
    dvc = outputs.get("dvc") or dvc_version(root, key)  # an older store's does not say: then dvc.lock, which may have moved on
    return {"key": key, "content_sha256": outputs["content_sha256"], "dvc": dvc}


@contextmanager
def data_version(root: Path, data: dict[str, Any]) -> Iterator[Path | None]:
    """Hold a directory with a version of prepared data for the block; None where neither the project nor DVC's cache has it any more.

    Args:
        root: the project's folder.
        data: `key`, `content_sha256` and `dvc` {raw, prepared}, as a run's account names them.
    """
    newest = root / PREPARED / data["key"]
    if _is_version(newest, data):
        yield newest
        return
    with _in_cache(root, data) as directory:
        yield directory


@contextmanager
def _in_cache(root: Path, data: dict[str, Any]) -> Iterator[Path | None]:
    """Hold a version as links into DVC's cache; None where it is not there, or the md5 is that of another."""
    files = _cached(root, str((data.get("dvc") or {}).get("prepared") or ""))
    if files is None:
        yield None
        return
    within = root / ".dvc" / "tmp"  # workers on other hosts see the project, not this machine's /tmp
    within.mkdir(parents=True, exist_ok=True)
    _remove_left(within)
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=within) as folder:
        write_holder(Path(folder) / _HOLDER)
        directory = Path(folder) / "data"
        for name, source in files.items():
            link = directory / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(source)
        yield directory if _is_version(directory, data) else None


def _remove_left(within: Path) -> None:
    """Remove the links of processes that were killed."""
    for folder in within.glob(f"{_PREFIX}*"):
        if is_dead(folder / _HOLDER):
            shutil.rmtree(folder, ignore_errors=True)


def _is_version(directory: Path, data: dict[str, Any]) -> bool:
    return bool(read_object(directory / CARD_NAME).get("content_sha256") == data["content_sha256"])


def _cached(root: Path, md5: str) -> dict[str, Path] | None:
    """The files of a directory that DVC knows by an md5, `{relative name: file in the cache}`; None where one is missing."""
    if not md5.endswith(".dir"):
        return None
    cache = cache_directory(root)
    try:
        listing = read_json(_place(cache, md5))
        found = {entry["relpath"]: _place(cache, entry["md5"]) for entry in listing}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if all(path.is_file() for path in found.values()) else None


def _place(cache: Path, md5: str) -> Path:
    """Where DVC 3 keeps what has an md5."""
    return cache / "files" / "md5" / md5[:2] / md5[2:]


@functools.cache
def cache_directory(root: Path) -> Path:
    """Return where the project's DVC keeps its cache, whatever its configuration says.

    Raises:
        RunError: DVC does not say.
    """
    done = subprocess.run([sys.executable, "-m", "dvc", "cache", "dir"], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RunError(f"`dvc cache dir` failed: {done.stderr.strip()}")
    return (root / done.stdout.strip()).resolve()
