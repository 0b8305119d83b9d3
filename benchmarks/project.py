"""A scratch copy of the project to run commands in, and how long a command takes."""

from __future__ import annotations

import os
import resource
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Taken:
    """What a command took: seconds on the clock, and seconds of CPU (user and system, of the command and of what it waited for)."""

    wall_seconds: float
    cpu_seconds: float
    output: str


def copy_project(folder: Path) -> Path:
    """Copy what git knows or would add, as a fresh clone has it, make it a repository, and return the folder."""
    names = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(lambda n: (ROOT / n).is_file(), names.splitlines()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    return folder


def environment(folder: Path) -> dict[str, str]:
    """Return the variables of a command in a scratch copy: it writes its byte code, and reaches no cache or database of this machine's user."""
    dropped = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "PREFECT_API_URL", "WANDB_API_KEY")
    kept = {k: v for k, v in os.environ.items() if k not in dropped}
    own = {"PREFECT_HOME": str(folder / ".prefect"), "DVC_SITE_CACHE_DIR": str(folder / ".dvc-site"), "DVC_NO_ANALYTICS": "1"}
    return {**kept, **own, "OMP_NUM_THREADS": "1"}


def timed(command: Sequence[str], folder: Path) -> Taken:
    """Run a command to its end.

    Raises:
        RuntimeError: it failed; with its last lines.
    """
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-2000:]}")
    return Taken(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout)
