"""Checkpoints that population-based training hands on: hard links, which cost no space and outlive what the training itself deletes."""

from __future__ import annotations

import os
import shutil
import time
import uuid
from pathlib import Path

from components.errors import RunError
from components.files import read_json

_WRITE_SECONDS = 300.0
_POLL_SECONDS = 0.05


def keep(training: Path, step: int, folder: Path, steps: float) -> Path:
    """Link the newest checkpoint of a training into a trial's folder, and let go of the old ones there.

    Args:
        training: the train stage's directory.
        step: that the training has told of; its checkpoint is written a moment later.
        folder: of the trial.
        steps: older ones than so many steps go.

    Returns:
        The checkpoint's directory, named by its step.

    Raises:
        RunError: the training does not write it.
    """
    deadline = time.monotonic() + _WRITE_SECONDS
    while time.monotonic() < deadline:
        try:
            newest = training / "checkpoints" / (training / "checkpoints" / "latest").read_text(encoding="utf-8").strip()
            if _step(newest) >= step:
                return _link(newest, folder, steps)
        except FileNotFoundError:  # there is none yet; or it was deleted, and there is a newer one; or the stage was committed meanwhile
            committed = training.with_name(training.name.removesuffix(".partial"))
            training = committed if committed.is_dir() else training
        time.sleep(_POLL_SECONDS)
    raise RunError(f"no checkpoint of step {step} was written within {_WRITE_SECONDS:.0f} s in {training}")


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
