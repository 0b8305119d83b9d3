"""Archives to verified files: checksums, nested zip, tar and gz, and no member that leaves its folder."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, cast

from components.errors import UserError

_CHUNK_BYTES = 1 << 20
_TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")
_DAMAGE = (EOFError, OSError, zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError)


def verify_archive(path: Path, checksum: str) -> None:
    """Compare an archive with its checksum.

    Args:
        path: the archive.
        checksum: "md5:<hex>" or "sha256:<hex>".

    Raises:
        UserError: it differs, so the archive is truncated or tampered with.
    """
    algorithm, _, expected = checksum.partition(":")
    if algorithm not in ("md5", "sha256"):
        raise UserError(f"the checksum of {path.name} has no known algorithm", received=checksum, expected="md5:<hex> or sha256:<hex>")
    with open(path, "rb") as stream:
        found = hashlib.file_digest(stream, algorithm).hexdigest()
    if found != expected:
        raise UserError(
            f"the archive {path.name} is truncated or tampered with: its {algorithm} differs",
            received=f"{found} ({path.stat().st_size} bytes, {path})",
            expected=expected,
            mend="delete it and get it again from its origin",
        )


def unpack(archives: Iterable[Path], files: Mapping[str, str], folder: Path) -> int:
    """Write the wanted members of archives into a folder and verify each one's content.

    Members may be nested (a .gz in a .zip). Only names in `files` are written, under exactly that name.

    Args:
        archives: verified archives.
        files: wanted name -> hex sha256.
        folder: an existing folder.

    Returns:
        The number of bytes written.

    Raises:
        UserError: an archive cannot be read, a member would leave the folder, a wanted file is missing or has another content.
        OSError: the folder cannot be written.
    """
    missing, written = dict(files), 0
    for archive in archives:
        try:
            with open(archive, "rb") as stream:
                for name, content in _members(archive.name, stream):
                    if len(files) == 1 and name == archive.name:
                        name = next(iter(files))  # a single plain file may go by another name in a mirror; its checksum must be the same
                    if name in missing:
                        written += _write_verified(content, folder / name, missing.pop(name), archive)
        except _DAMAGE as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk's fault, not the archive's (a damaged .gz or .bz2 is an OSError without a number)
            raise UserError(f"the archive {archive.name} cannot be unpacked: {error}", received=archive) from error
    if missing:
        raise UserError("the archives do not hold all files", received=[a.name for a in archives], expected=f"also {sorted(missing)}")
    return written


def _members(name: str, stream: IO[bytes]) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield (path inside, content) of all files, unpacked to the innermost; a file that is no archive yields itself."""
    if name.endswith(_TAR_SUFFIXES):
        with tarfile.open(fileobj=stream, mode="r:*") as tar:
            for member in tar:
                if member.isfile() and (inner := tar.extractfile(member)) is not None:
                    yield from _members(_inside(member.name, name), inner)
    elif name.endswith(".zip"):
        with zipfile.ZipFile(stream) as archive:
            for info in archive.infolist():
                if not info.is_dir():
                    with archive.open(info) as inner:
                        yield from _members(_inside(info.filename, name), inner)
    elif name.endswith(".gz"):
        with gzip.open(stream) as plain:
            yield name.removesuffix(".gz"), cast(IO[bytes], plain)
    else:
        yield name, stream


def _inside(name: str, archive: str) -> str:
    """Return a member's path in its plain form, or refuse one that leads out of the folder."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        raise UserError(f"the archive {archive} holds a path that leaves its folder", received=name, mend="do not trust this archive")
    return str(path)


def _write_verified(content: IO[bytes], path: Path, sha256: str, archive: Path) -> int:
    digest, size = hashlib.sha256(), 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as stream:
        while chunk := content.read(_CHUNK_BYTES):
            digest.update(chunk)
            size += stream.write(chunk)
    if digest.hexdigest() != sha256:
        raise UserError(
            f"the file {path.name} in {archive.name} is not the one that the data set is made of: its sha256 differs",
            received=f"{digest.hexdigest()} ({size} bytes)",
            expected=sha256,
            mend="get the archive again from its origin; if the origin has a new edition, give it a data file of its own",
        )
    return size
