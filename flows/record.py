"""What a run writes down of where it came from: git, versions, the machine, the data's version by DVC."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from components.data.params import PREPARED, RAW, read_yaml
from components.errors import UserError
from components.files import sha256_file

# What makes a run, and all that is ever copied of a checkout.
CODE = (
    "components",
    "flows",
    "conf",
    "dvc.yaml",
    "dvc.lock",
    "params.yaml",
    "pyproject.toml",
    "constraints.txt",
)
_PLAIN = ("--no-ext-diff", "--no-textconv", "--no-color", "--src-prefix=a/", "--dst-prefix=b/")  # whatever a person's own git is told to show
# Beside those of a stage's key (flows/stages.py): first what carries a run out, then what data, transforms and metrics come from.
_PACKAGES = (
    *("ray", "prefect", "dvc", "hydra-core", "wandb"),
    *("safetensors", "kornia", "scikit-learn", "gymnasium", "tokenizers", "sacrebleu", "pillow"),
)


def git_state(root: Path) -> dict[str, Any]:
    """Return `{commit, dirty}` of the project, nulls outside a git checkout."""
    commit = _git(root, "rev-parse", "HEAD")
    status = _git(root, "status", "--porcelain")
    return {"commit": None if commit is None else commit.decode().strip(), "dirty": None if status is None else bool(status.strip())}


def has_commit(root: Path, commit: str) -> bool:
    """Tell whether a commit is in this clone, on a branch or not."""
    return _git(root, "cat-file", "-e", f"{commit}^{{commit}}") is not None


def uncommitted(root: Path) -> bytes:
    """Return what the project's code differs by from its commit, new files included, as a patch for `git apply`; empty where it does not."""
    with tempfile.TemporaryDirectory() as scratch:
        index = {"GIT_INDEX_FILE": str(Path(scratch) / "index")}
        paths = [p for p in CODE if (root / p).exists()]
        if _git(root, "read-tree", "HEAD", **index) is None or _git(root, "add", "--all", "--", *paths, **index) is None:
            return b""
        return _git(root, "diff", *_PLAIN, "--cached", "--binary", "HEAD", "--", *paths, **index) or b""


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def file_hashes(root: Path, names: Iterable[str]) -> dict[str, str]:
    """Return `{name: sha256}` of files of the project."""
    return {name: sha256_file(root / name) for name in names}


def versions() -> dict[str, str]:
    """Return the versions that stand in no stage's key, of what is installed: where a number cannot be had again, they may tell why."""
    return {name: version for name in _PACKAGES if (version := installed(name)) is not None}


@functools.cache
def installed(name: str) -> str | None:
    """Return the version of a package, or of `python` as stages are keyed by it; None where it is not installed."""
    if name == "python":
        return f"{sys.version_info.major}.{sys.version_info.minor}"
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def machine() -> dict[str, Any]:
    return {"host": socket.gethostname(), "system": platform.platform(), "cpus": os.cpu_count()}


def dvc_version(root: Path, key: str) -> dict[str, Any]:
    """Return the checksums by which DVC knows the raw and the prepared files of a data set: `{raw, prepared}`, null where dvc.lock has none."""
    lock = root / "dvc.lock"
    stages = _stages_of(lock, lock.stat().st_mtime_ns) if lock.is_file() else {}
    outs = {out["path"]: out.get("md5") for name in (f"fetch@{key}", f"prepare@{key}") for out in stages.get(name, {}).get("outs", [])}
    return {"raw": outs.get((RAW / key).as_posix()), "prepared": outs.get((PREPARED / key).as_posix())}


@functools.lru_cache(maxsize=1)
def _stages_of(lock: Path, _mtime_ns: int) -> dict[str, Any]:
    """The stages of dvc.lock, which is long, and asked for at every stage of a run."""
    try:
        stages: dict[str, Any] = read_yaml(lock)["stages"]
    except (OSError, KeyError, TypeError, UserError):
        return {}
    return stages


def _git(root: Path, *arguments: str, **environment: str) -> bytes | None:
    """The output of a git command; None where git or the checkout is absent."""
    try:
        return subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=True, env={**os.environ, **environment}).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
