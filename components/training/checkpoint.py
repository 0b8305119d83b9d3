"""Checkpoints that are whole or absent.

    checkpoints/step_00000160/   model.safetensors (weights, no DDP prefix), state.pt (everything else, tensors and plain data), meta.json (last)
    checkpoints/last, best       one-line pointer files

A directory is written under a temporary name, synced and renamed; then the pointers move; only then are superseded directories deleted.
"""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from components.errors import UserError
from components.files import read_json, sha256_file, write_json, write_text

_MEND = "delete the stage's directory and run the same command again: it will be trained anew"


class Checkpoints:
    """The checkpoints of one training run."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def save(self, step: int, model: nn.Module, state: dict[str, Any], meta: dict[str, Any], *, best: bool) -> Path:
        """Write a checkpoint, move `last` (and `best` when it is the best so far), delete what neither names."""
        final = self.directory / f"step_{step:08d}"
        temporary = self.directory / f".tmp-{uuid.uuid4().hex[:8]}"
        temporary.mkdir(parents=True)
        # Copies, because safetensors refuses tensors that share memory, and tied weights do.
        save_file({k: v.detach().to("cpu", copy=True).contiguous() for k, v in model.state_dict().items()}, temporary / "model.safetensors")
        torch.save(state, temporary / "state.pt")
        files = {p.name: {"sha256": sha256_file(p), "bytes": p.stat().st_size} for p in sorted(temporary.iterdir())}
        write_json(temporary / "meta.json", {**meta, "step": step, "files": files})
        _sync(temporary)
        if final.exists():  # the same step again, after a resume
            shutil.rmtree(final)
        os.replace(temporary, final)
        # `best` first: killed between the two, a run resumes before this step and makes it again; else `best` would stay behind.
        if best:
            write_text(self.directory / "best", final.name + "\n")
        write_text(self.directory / "last", final.name + "\n")
        self._delete_superseded()
        return final

    def path(self, pointer: str) -> Path | None:
        """Return the directory that `last` or `best` names, or None before the first checkpoint."""
        file = self.directory / pointer
        return self.directory / file.read_text().strip() if file.is_file() else None

    def _delete_superseded(self) -> None:
        kept = {self.path("last"), self.path("best")}
        for path in self.directory.iterdir():
            if path.is_dir() and path not in kept:
                shutil.rmtree(path, ignore_errors=True)


def verify(directory: Path) -> dict[str, Any]:
    """Check every file of a checkpoint against its meta.json and return the latter.

    Raises:
        UserError: a file is missing, truncated or changed.
    """
    try:
        meta: dict[str, Any] = read_json(directory / "meta.json")
        saved = {name: str(entry["sha256"]) for name, entry in meta["files"].items()}
        found = {name: sha256_file(directory / name) for name in saved}
    except OSError as error:
        raise UserError(f"the checkpoint is incomplete: {error}", received=directory, mend=_MEND) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"the checkpoint's meta.json cannot be read: {error}", received=directory, mend=_MEND) from error
    for name, sha256 in saved.items():
        if found[name] != sha256:
            raise UserError(
                f"the checkpoint's {name} is not what was saved",
                received=f"{directory / name}, sha256 {found[name][:16]}...",
                expected=f"sha256 {sha256[:16]}...",
                mend=_MEND,
            )
    return meta


def load_weights(directory: Path, model: nn.Module) -> None:
    """Load a verified checkpoint's weights into a model, strictly, on the CPU.

    Raises:
        UserError: the checkpoint belongs to another model.
    """
    try:
        model.load_state_dict(load_file(directory / "model.safetensors"))
    except RuntimeError as error:
        raise UserError(f"the checkpoint does not fit the model: {error}", received=directory) from error


def load_state(directory: Path) -> dict[str, Any]:
    """Load everything beside the weights. Only tensors and plain data are accepted (`weights_only`)."""
    state: dict[str, Any] = torch.load(directory / "state.pt", map_location="cpu", weights_only=True)
    return state


def _sync(directory: Path) -> None:
    for path in directory.iterdir():
        with open(path, "rb") as stream:
            os.fsync(stream.fileno())
