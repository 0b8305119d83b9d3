"""A project as it was when a run was made: its commit, the patch that no commit held, and DVC's cache, in a folder of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from components.errors import RunError, UserError
from components.files import write_text
from flows.adapters.dvc_versions import cache_directory

_NO_HOOKS = ("-c", "core.hooksPath=/dev/null", "-c", "advice.detachedHead=false")


def rebuild(root: Path, account: dict[str, Any], patch: bytes, folder: Path) -> Path:
    """Make the project of a run anew.

    Args:
        root: the project's folder; its clone lends the objects, its DVC the cache.
        account: the run's, with its commit.
        patch: what its code differed by from the commit; may be empty.
        folder: to make it in.

    Returns:
        The project's folder in there.

    Raises:
        UserError: the patch does not apply to the commit.
        RunError: git or DVC failed.
    """
    _check_out(root, account["git"]["commit"], folder)
    if patch:
        _apply(patch, folder)
    project = folder / _run(["git", "rev-parse", "--show-prefix"], root)
    write_text(project / ".dvc" / "config.local", f"[cache]\n    dir = {cache_directory(root)}\n")
    _link_own_files(root, project, account["spec"])
    return project


def _check_out(root: Path, commit: str, folder: Path) -> None:
    """As `git clone --shared`, of which it is half: that takes branches only, and a run's commit may be on none any more."""
    objects = (root / _run(["git", "rev-parse", "--git-path", "objects"], root)).resolve()
    _run(["git", "init", "--quiet", str(folder)], root)
    write_text(folder / ".git" / "objects" / "info" / "alternates", f"{objects}\n")
    _run(["git", *_NO_HOOKS, "checkout", "--quiet", "--detach", commit], folder)


def _apply(patch: bytes, folder: Path) -> None:
    done = subprocess.run(["git", "apply", "--whitespace=nowarn", "-"], cwd=folder, input=patch, capture_output=True)
    if done.returncode != 0:
        raise UserError(
            "the run's code does not apply: its patch does not fit its commit",
            received=done.stderr.decode(errors="replace").strip(),
            mend=f"the commit is checked out in {folder}; see by hand what of the patch fits",
        )


def _link_own_files(root: Path, project: Path, spec: dict[str, Any]) -> None:
    """Files of a user's own that the specification names from the project's folder, and that git does not hold."""
    own = [spec.get("data", {}).get("fetch", {}).get("path")]
    if checkpoint := spec.get("resume", {}).get("checkpoint"):
        own.append(str(Path(checkpoint).parent))  # a pointer and what it points to
    for name in filter(None, own):
        there, here = root / name, project / name
        if not Path(name).is_absolute() and there.exists() and not here.exists():
            here.parent.mkdir(parents=True, exist_ok=True)
            here.symlink_to(there.resolve())


def _run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        raise RunError(f"`{' '.join(command)}` failed in {folder}: {done.stderr.strip()}")
    return done.stdout.strip()
