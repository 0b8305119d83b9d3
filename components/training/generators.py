"""The random number generators of a process: Python's, numpy's, torch's, and the GPU's. Their states are plain data, as checkpoints want it."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def seed_generators(seed: int, rank: int) -> None:
    """Seed all of them, each rank with numbers of its own."""
    mixed = (seed * 1_000_003 + rank) & (2**63 - 1)
    random.seed(mixed)
    np.random.seed(mixed % 2**32)
    torch.manual_seed(mixed)  # every GPU's too


def generator_states(device: torch.device) -> dict[str, Any]:
    """Return the states; tensors, tuples and numbers only."""
    numpy = np.random.get_state(legacy=False)
    assert isinstance(numpy, dict)
    version, words, gauss = random.getstate()
    return {
        "python": (version, torch.tensor(words, dtype=torch.int64), gauss),  # a tensor: 625 numbers one by one are slow to load
        "numpy": {**numpy, "state": {**numpy["state"], "key": torch.from_numpy(numpy["state"]["key"].astype(np.int64))}},
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def restore_generators(states: dict[str, Any], device: torch.device) -> None:
    """Set the generators to what `generator_states` returned; a GPU's state is left alone where there is none to set."""
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
    numpy = states["numpy"]
    np.random.set_state({**numpy, "state": {**numpy["state"], "key": numpy["state"]["key"].numpy().astype(np.uint32)}})
    torch.set_rng_state(states["torch"])
    if device.type == "cuda" and states["cuda"] is not None:
        torch.cuda.set_rng_state(states["cuda"], device)
