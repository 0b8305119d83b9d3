"""Checkpoints that population-based training hands on: hard links, which cost no space and outlive what the training itself deletes."""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path

from components.errors import RunError
from components.files import read_json

_TRIES = 20


def keep(training: Path, folder: Path, steps: float) -> Path | None:
    """Link the newest checkpoint of a training into a trial's folder, and let go of the old ones there.

    Args:
        training: the train stage's directory.
        folder: of the trial.
        steps: older ones than so many steps go.

    Returns:
        The checkpoint's directory, named by its step; None when the training has none yet.
    """
    for _ in range(_TRIES):
        try:
            name = (training / "checkpoints" / "latest").read_text(encoding="utf-8").strip()
            return _link(training / "checkpoints" / name, folder, steps)
        except FileNotFoundError:  # deleted meanwhile: there is a newer one; or the stage was committed
            training = training.with_name(training.name.removesuffix(".partial"))
    return None


def step_of(checkpoint: Path) -> int:
    """Return how many steps a checkpoint has made."""
    step: int = read_json(checkpoint / "meta.json")["step"]
    return step


def nearest(checkpoint: Path) -> Path:
    """Return a checkpoint that was handed on; where it is gone, the oldest one of the same trial.

    Raises:
        RunError: the trial has none.
    """
    if (checkpoint / "meta.json").is_file():
        return checkpoint
    left = sorted(checkpoint.parent.glob("step_*"))
    if not left:
        raise RunError(f"the checkpoint to go on from is gone: {checkpoint}")
    return left[0]


def _link(source: Path, folder: Path, steps: float) -> Path:
    final = folder / source.name
    if not final.is_dir():
        temporary = folder / f".tmp-{uuid.uuid4().hex[:8]}"
        temporary.mkdir(parents=True)
        try:
            for file in source.iterdir():
                _link_file(file, temporary / file.name)
            os.replace(temporary, final)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    for old in folder.glob("step_*"):
        if _step(old) < _step(final) - steps:
            shutil.rmtree(old, ignore_errors=True)
    return final


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step_"))


def _link_file(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)
