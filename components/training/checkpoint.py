"""Checkpoints that are whole or absent.

    checkpoints/step_00000160/   model.safetensors (weights by their plain names), ema.safetensors (where they are averaged),
                                 state.safetensors, state.json (everything else), meta.json (last)
    checkpoints/latest, best     one-line pointer files

A directory is written under a temporary name, synced and renamed; then the pointers move; only then are superseded directories deleted. Killed
between two of these, a run goes on from what it has saved: the newest directory whose files are what its meta.json says, pointed to or not.
"""

from __future__ import annotations

import logging
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from components.errors import RunError, UserError
from components.files import read_json, sha256_files, write_json, write_text
from components.training.ownership import Ownership
from components.training.plain_state import save_state
from components.training.strategy import load_model_state

log = logging.getLogger(__name__)

_MEND = "delete the stage's directory and run the same command again: it will be trained anew"
_WRAPPERS = ("_orig_mod.", "module.")  # torch.compile's and DDP's, in weights that others have saved


class Checkpoints:
    """The checkpoints of one training run.

    Args:
        directory: that holds them.
        keep_best: how many of the best to keep; the latest is kept as well.
        mode: whether a greater or a smaller `value` is better.
        owner: the right to write there, where another attempt may take over.
    """

    def __init__(self, directory: Path, keep_best: int = 1, mode: Literal["max", "min"] = "max", owner: Ownership | None = None) -> None:
        self.directory, self.keep_best, self.mode, self.owner = directory, keep_best, mode, owner

    def save(self, step: int, weights: Mapping[str, Mapping[str, Tensor]], state: dict[str, Any], meta: dict[str, Any], *, best: bool) -> Path:
        """Write a checkpoint, move `latest` (and `best` when it is the best so far), delete what is superseded.

        Args:
            step: names the directory.
            weights: `{"model": state dict}` and, where weights are averaged, `"ema"`; on the CPU, no two tensors sharing memory.
            state: tensors and plain data.
            meta: goes to meta.json; its `value` ranks the checkpoint, None ranks it nowhere.

        Raises:
            RunError: another attempt has taken over.
        """
        final = self.directory / f"step_{step:08d}"
        temporary = self.directory / f".tmp-{uuid.uuid4().hex[:8]}"
        temporary.mkdir(parents=True)
        for name, tensors in weights.items():
            save_file(dict(tensors), temporary / f"{name}.safetensors")
        save_state(temporary, state)
        paths = sorted(temporary.iterdir())
        files = {p.name: {"sha256": sha256, "bytes": p.stat().st_size} for p, sha256 in zip(paths, sha256_files(paths), strict=True)}
        shown = "ema.safetensors" if "ema" in weights else "model.safetensors"  # what evaluation loads
        write_json(temporary / "meta.json", {**meta, "step": step, "best": best, "weights": shown, "files": files})
        _sync(temporary)
        try:
            if self.owner is not None:
                self.owner.require()
        except RunError:
            shutil.rmtree(temporary)
            raise
        if final.exists():  # the same step again, after a resume
            shutil.rmtree(final)
        os.replace(temporary, final)
        _sync_directory(self.directory)
        self._point(final, best=best)
        self._delete_superseded()
        return final

    def newest(self) -> Path | None:
        """Return the newest checkpoint that is whole, whatever `latest` says; None before the first one.

        Raises:
            UserError: there are checkpoints, and each of them is damaged.
        """
        damage: UserError | None = None
        for path in sorted(self.directory.glob("step_*"), reverse=True):
            try:
                verify(path)
            except UserError as error:
                log.warning("%s; going on from an earlier checkpoint", error)
                damage = damage or error
            else:
                return path
        if damage is not None:
            raise damage
        return None

    def adopt(self, path: Path) -> None:
        """Point to a checkpoint as its save would have done, had it not been cut off."""
        if self.path("latest") != path:
            self._point(path, best=_meta(path)["best"])

    def _point(self, final: Path, *, best: bool) -> None:
        # `best` first: whoever finds `latest` there finds the other done.
        if best:
            write_text(self.directory / "best", final.name + "\n")
        write_text(self.directory / "latest", final.name + "\n")

    def path(self, pointer: str) -> Path | None:
        """Return the directory that `latest` or `best` names, or None before the first one."""
        file = self.directory / pointer
        return self.directory / file.read_text().strip() if file.is_file() else None

    def ranking(self) -> list[tuple[float, Path]]:
        """Return the kept checkpoints that were validated, best first; of equals the earlier."""
        found = [(meta["value"], p) for p in sorted(self.directory.glob("step_*")) if (meta := _meta(p)).get("value") is not None]
        return sorted(found, key=lambda entry: -entry[0] if self.mode == "max" else entry[0])

    def _delete_superseded(self) -> None:
        kept = {self.path("latest"), self.path("best"), *(path for _, path in self.ranking()[: self.keep_best])}
        for path in self.directory.iterdir():
            if path.is_dir() and path not in kept:
                shutil.rmtree(path, onerror=lambda _f, name, error: log.warning("a superseded checkpoint stays: %s: %s", name, error[1]))


def _meta(directory: Path) -> dict[str, Any]:
    try:
        meta: dict[str, Any] = read_json(directory / "meta.json")
    except (OSError, ValueError):
        return {}
    return meta


def verify(directory: Path) -> dict[str, Any]:
    """Check every file of a checkpoint against its meta.json and return the latter.

    Raises:
        UserError: a file is missing, truncated or changed.
    """
    try:
        meta: dict[str, Any] = read_json(directory / "meta.json")
        saved = {name: str(entry["sha256"]) for name, entry in meta["files"].items()}
        found = dict(zip(saved, sha256_files([directory / name for name in saved]), strict=True))
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


def load_weights(directory: Path, model: nn.Module, file: str = "model.safetensors") -> None:
    """Load a verified checkpoint's weights into a model, strictly, on the CPU. Names may carry the prefixes of DDP or torch.compile.

    Raises:
        UserError: the checkpoint belongs to another model.
    """
    try:
        load_model_state(model, {_plain_name(k): v for k, v in load_file(directory / file).items()})
    except RuntimeError as error:
        raise UserError(f"the checkpoint does not fit the model: {error}", received=directory) from error


def _plain_name(name: str) -> str:
    while name.startswith(_WRAPPERS):
        name = name.partition(".")[2]
    return name


def _sync(directory: Path) -> None:
    for path in directory.iterdir():
        with open(path, "rb") as stream:
            os.fsync(stream.fileno())
    _sync_directory(directory)


def _sync_directory(directory: Path) -> None:
    """Make renames inside a directory last."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
