"""Where the project is: the nearest folder with a conf/config.yaml, from the current one upwards, else the checkout that holds this file."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from components.errors import UserError
from components.files import atomic_path

MIN_FREE_BYTES = 256 << 20


def project_root(start: Path | None = None) -> Path:
    """Return the project's absolute folder, the one that holds conf/config.yaml and dvc.yaml."""
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "conf" / "config.yaml").is_file() and (folder / "dvc.yaml").is_file():
            return folder
    return Path(__file__).resolve().parents[1]


def require_writable(directory: Path) -> None:
    """Make a directory and prove that it can be written, with room to spare.

    Raises:
        UserError: it cannot be made or written, or less than 256 MiB are free.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with atomic_path(directory / "write-probe") as probe:
            probe.write_bytes(b"x")
        (directory / "write-probe").unlink(missing_ok=True)  # another run's probe may have been this one, and be gone
        status = os.statvfs(directory)
    except OSError as error:
        raise UserError(
            f"the store cannot be written: {error.strerror or error}",
            received=directory,
            mend="give another folder with store=/path/to/folder, or mend its permissions or space",
        ) from error
    free_bytes = status.f_bavail * status.f_frsize
    if free_bytes < MIN_FREE_BYTES:
        raise UserError(
            "the store's disk is nearly full",
            received=f"{free_bytes / 2**20:.0f} MiB free in {directory}",
            expected=f"at least {MIN_FREE_BYTES >> 20} MiB",
            mend="free some space, or give another folder with store=/path/to/folder",
        )


def python_command(module: str, *arguments: str) -> list[str]:
    """Return the command line that runs a module with this interpreter."""
    return [sys.executable, "-m", module, *arguments]
