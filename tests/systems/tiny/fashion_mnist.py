"""Four IDX files of clothes that are bright squares, each class at a place of its own, under noise."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

PREPARE = {"validation_rows": 20}
EXPERIMENT = {
    "ensemble/deep_ensemble": ["model.count=2"],
    "generative/vae": ["model.hidden=16", "model.latent=2", "task.importance_samples=3"],
    "generative/dcgan": ["model.width=2", "model.latent=4", "trainer.monitor.metric=validation/generator_loss"],
    "generative/dcgan_full": ["model.width=2", "model.latent=4", "trainer.monitor.metric=validation/generator_loss"],
}
_CLASSES, _ROWS = 10, {"train": 40, "t10k": 20}


def write(raw: Path) -> None:
    rng = np.random.default_rng(0)
    for part, rows in _ROWS.items():
        labels = np.arange(rows, dtype=np.uint8) % _CLASSES
        images = rng.integers(0, 60, (rows, 28, 28), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            top, left = 6 * (label // 5) + 4, 4 * (label % 5) + 3
            image[top : top + 8, left : left + 6] += 150
        (raw / f"{part}-images-idx3-ubyte").write_bytes(_idx(images))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(_idx(labels))


def _idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()
