"""Streets of 48 x 32 pixels: sky above, road below, and a box of each other class in its own grey."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

ROWS = {"train": 14, "val": 11, "test": 12}
_MOVE = (
    "{_target_: components.data.augment_geometry.MoveTogether, columns: {inputs: image, masks: mask}, flip: 0.5, scale: [0.8, 1.6], size: [16, 24]}"
)
_SMALL = ["model.width=4", "model.depth=2", "trainer.batch_size=4", "trainer.precision=fp32", f"augment.train=[{_MOVE}]"]
PREPARE: dict[str, object] = {"reduction": 2}
EXPERIMENT = {"segmentation/unet": _SMALL, "segmentation/unet_full": _SMALL}


def write(raw: Path) -> None:
    rng = np.random.default_rng(5)
    with zipfile.ZipFile(raw / "camvid.zip", "w") as archive:
        for split, rows in ROWS.items():
            for row in range(rows):
                labels = _labels(rng)
                photo = (20 * labels[..., None] + rng.integers(0, 20, (*labels.shape, 3))).astype(np.uint8)
                archive.writestr(f"CamVid/{split}/frame_{row:03d}.jpg", _encoded(photo, "JPEG"))
                archive.writestr(f"CamVid/{split}annot/frame_{row:03d}.png", _encoded(labels, "PNG"))


def _labels(rng: np.random.Generator) -> np.ndarray:
    """(32, 48) uint8 in 0..11."""
    labels = np.zeros((32, 48), np.uint8)
    labels[16:] = 3
    for label in (1, 2, 4, 5, 6, 7, 8, 9, 10, 11):
        top, left = rng.integers(0, 26), rng.integers(0, 42)
        labels[top : top + 6, left : left + 6] = label
    return labels


def _encoded(pixels: np.ndarray, kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format=kind)
    return stream.getvalue()
