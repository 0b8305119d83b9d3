"""Real rows to try a model on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from components.data.card import load_card
from components.data.dataset import ShardDataset
from components.tasks.base import Batch


def open_unseen(data: Path) -> ShardDataset:
    """Open the split that nobody trained on, where there is one: test, else validation, else the first."""
    splits = load_card(data).splits
    return ShardDataset(data, next(name for name in ("test", "validation", *splits) if name in splits and splits[name].rows))


def take_rows(dataset: ShardDataset, count: int) -> Batch:
    """Return so many rows, spread over a split, without their numbers; a split that has fewer repeats them."""
    places = np.linspace(0, dataset.rows, count, endpoint=False).astype(np.int64)
    return {name: value for name, value in dataset.fetch(places).items() if name != "sample_id"}
