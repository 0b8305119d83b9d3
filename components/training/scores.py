"""What every sample of a split came to, in a few numbers a sample: what the gate compares two models by (components/gate)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from components.files import atomic_path

Columns = dict[str, npt.NDArray[np.generic]]
SCORES = "scores.npz"


def score_part(samples: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the scores of one evaluated batch: `sample_id`, `loss` and, where a sample has one label, `accuracy`, `(B,)` each.

    Args:
        samples: what `Task.samples` gave, on the CPU.
    """
    found = {"sample_id": samples["sample_id"], "loss": samples["losses"].double()}
    predictions, targets = samples.get("predictions"), samples.get("targets")
    if predictions is not None and targets is not None and _is_label(predictions) and _is_label(targets):
        found["accuracy"] = (predictions == targets).double()
    return found


def _is_label(values: Tensor) -> bool:
    return values.dim() == 1 and not values.is_floating_point()


def join_scores(parts: Sequence[dict[str, Tensor]]) -> Columns:
    """Join batches of `score_part` to columns `(N,)` in the order of the sample ids; nothing where there is no batch."""
    if not parts:
        return {}
    columns = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    order = columns["sample_id"].argsort(stable=True)
    return {name: column[order].numpy() for name, column in columns.items()}


def write_scores(path: Path, splits: dict[str, Columns]) -> None:
    """Write the columns of each split into one file, under `<split>.<column>`."""
    arrays = {f"{split}.{name}": column for split, columns in splits.items() for name, column in columns.items()}
    with atomic_path(path) as temporary, open(temporary, "wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)  # type: ignore[arg-type]


def read_scores(path: Path, split: str) -> Columns:
    """Return the columns of a split; nothing where the split was not evaluated."""
    with np.load(path, allow_pickle=False) as stored:
        return {name.partition(".")[2]: stored[name] for name in stored.files if name.partition(".")[0] == split}
