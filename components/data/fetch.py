"""Raw files from the mirror folder, an installed package or the origin: verified, unpacked, published as one directory."""

from __future__ import annotations

import importlib.util
import logging
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import pooch
import requests

from components.data.archives import unpack, verify_archive
from components.data.publish import atomic_directory, temporary_directory
from components.errors import UserError
from components.spec.schema import FetchSpec

MIRROR_VARIABLE = "MODELYARD_DATA_MIRROR"
_TIMEOUT_SECONDS = 30  # to connect, and between two pieces of an answer


def fetch(definition: FetchSpec, output: Path, mirror: Path | None = None) -> str:
    """Make `output` hold exactly `definition.files`, whole and verified; it is replaced at once or left as it was.

    The mirror folder is asked first. Where it lacks a file, the package or the origin is asked.

    Args:
        definition: names, checksums and origin.
        output: the directory of raw files.
        mirror: a folder that holds `definition.mirror` (or, where that is empty, the archives themselves), or None.

    Returns:
        One line for the reader: what came from where.

    Raises:
        UserError: no route has the files, or what it has does not match its checksum.
    """
    with atomic_directory(output) as folder, temporary_directory(output) as scratch:
        if definition.path is not None:
            return own_files(Path(definition.path), folder)
        if not definition.archives and not definition.mirror:
            return "nothing, the reader generates the data"
        archives, route = _archives(definition, mirror, scratch)
        size = unpack(archives, definition.files, folder) if definition.unpack else _as_they_are(archives, definition.files, folder)
    return f"{len(definition.files)} files, {size / 2**20:.1f} MiB{' unpacked' * definition.unpack}, from {route}"


def _as_they_are(archives: list[Path], files: Mapping[str, str], folder: Path) -> int:
    """Copy archives whose reader opens them itself, each compared with the sha256 that `files` gives it."""
    for archive in archives:
        if archive.name not in files:
            raise UserError("fetch.files does not name an archive", received=archive.name, expected=sorted(files))
        verify_archive(archive, f"sha256:{files[archive.name]}")
        shutil.copyfile(archive, folder / archive.name)
    return sum((folder / name).stat().st_size for name in files)


def own_files(path: Path, folder: Path) -> str:
    """Copy a user's file, or what a user's folder holds, into `folder`: later changes of the original then change no data version.

    Raises:
        UserError: there is no such file or folder.
    """
    if path.is_dir():
        shutil.copytree(path, folder, dirs_exist_ok=True)
    elif path.is_file():
        shutil.copyfile(path, folder / path.name)
    else:
        raise UserError("your data is not there", received=path.absolute(), expected="a file or a folder", mend="correct data.fetch.path")
    return f"a copy of {path}"


def _archives(definition: FetchSpec, mirror: Path | None, scratch: Path) -> tuple[list[Path], str]:
    wanted = definition.mirror or definition.archives
    lacking = _lacking(wanted, mirror)
    if mirror is not None and not lacking:
        return _verified({mirror / name: checksum for name, checksum in wanted.items()}), str(mirror)
    if definition.package is not None:
        return _from_package(definition.package, definition.archives), f"package {definition.package}"
    if definition.base_url is None:
        raise UserError(
            f"this data has to be got by hand, which its licence or its origin asks for: {', '.join(lacking or wanted)}",
            received=f"{MIRROR_VARIABLE}={mirror or ''}",
            mend=f"get it from the homepage that its file under conf/data names, and point {MIRROR_VARIABLE} at the folder that holds it",
        )
    hint = f"; the mirror {mirror} lacks {', '.join(lacking)}" if mirror else ""
    return _download(definition.base_url, definition.archives, scratch, hint), definition.base_url


def _lacking(wanted: Mapping[str, str], mirror: Path | None) -> list[str]:
    if mirror is None:
        return []
    if not mirror.is_dir():
        raise UserError(
            "the data mirror is no folder",
            received=f"{MIRROR_VARIABLE}={mirror}",
            mend=f"point {MIRROR_VARIABLE} at an existing folder, or unset it to use the origin",
        )
    return [name for name in wanted if not (mirror / name).is_file()]


def _verified(archives: Mapping[Path, str]) -> list[Path]:
    for path, checksum in archives.items():
        verify_archive(path, checksum)
    return list(archives)


def _from_package(package: str, archives: Mapping[str, str]) -> list[Path]:
    """Find files of an installed package without importing it (scikit-learn alone would take a second)."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise UserError(f"the package '{package}' that ships the data is not installed", mend=f"install {package}")
    folder = Path(found.submodule_search_locations[0])
    absent = [name for name in archives if not (folder / name).is_file()]
    if absent:
        raise UserError(f"the installed package '{package}' ships no {absent[0]}", received=folder, mend=f"install a {package} that ships it")
    return _verified({folder / name: checksum for name, checksum in archives.items()})


def _download(base_url: str, archives: Mapping[str, str], scratch: Path, hint: str) -> list[Path]:
    terminal = sys.stderr.isatty()
    if not terminal:
        logging.getLogger("pooch").setLevel(logging.WARNING)  # two lines a file otherwise; the caller prints one for all
    downloader = pooch.HTTPDownloader(progressbar=terminal, timeout=_TIMEOUT_SECONDS)
    paths = {}
    for name, checksum in archives.items():
        url = base_url.rstrip("/") + "/" + name
        path = scratch / name
        try:
            # The hash is ours to check: pooch's message tells neither the size nor what to do.
            pooch.retrieve(url, known_hash=None, fname=path.name, path=path.parent, downloader=downloader)
        except requests.RequestException as error:
            raise UserError(
                f"the origin cannot be reached{hint}",
                received=f"{url}: {_reason(error)}",
                mend=f"check the network, or point {MIRROR_VARIABLE} at a folder that holds the files",
            ) from error
        paths[path] = checksum
    return _verified(paths)


def _reason(error: Exception) -> str:
    """Return the innermost cause in words: requests wraps it three times, object addresses included."""
    inner: BaseException = error
    while (deeper := inner.__cause__ or inner.__context__ or _argument(inner)) is not None:
        inner = deeper
    return str(inner) or type(inner).__name__


def _argument(error: BaseException) -> BaseException | None:
    reason = getattr(error, "reason", None) or (error.args[0] if error.args else None)
    return reason if isinstance(reason, BaseException) else None
