"""An earlier version of prepared data, from DVC's cache: data/prepared/<key> holds only the newest."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from components.data.card import CARD_NAME
from components.data.params import PREPARED
from components.errors import RunError
from components.files import read_json, read_object


@contextmanager
def data_version(root: Path, data: dict[str, Any]) -> Iterator[Path | None]:
    """Hold a directory with a version of prepared data for the block; None where neither the project nor DVC's cache has it any more.

    Args:
        root: the project's folder.
        data: `key`, `content_sha256` and `dvc` {raw, prepared}, as a run's account names them.
    """
    newest = root / PREPARED / data["key"]
    if read_object(newest / CARD_NAME).get("content_sha256") == data["content_sha256"]:
        yield newest
        return
    files = _cached(root, str((data.get("dvc") or {}).get("prepared") or ""))
    if files is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="modelyard-data-") as folder:
        for name, source in files.items():
            link = Path(folder) / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(source)
        yield Path(folder)


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


def cache_directory(root: Path) -> Path:
    """Return where the project's DVC keeps its cache, whatever its configuration says.

    Raises:
        RunError: DVC does not say.
    """
    done = subprocess.run([sys.executable, "-m", "dvc", "cache", "dir"], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RunError(f"`dvc cache dir` failed: {done.stderr.strip()}")
    return (root / done.stdout.strip()).resolve()
