"""CIFAR-10 as the mirror has it: one tar.xz of small JPEGs, `<split>/<class>/NNNN.jpg`."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
ROWS = {"train": 4, "test": 2}  # of each class
PREPARE = {"validation_fraction": 0.25}
EXPERIMENT = {
    "cnn/resnet20": ["model.depth=8", "~schedule.warmup"],
    "cnn/resnet20_published": ["model.depth=8", "~schedule.hold", "~schedule.every"],
    "cnn/resnet56": ["model.depth=8", "~schedule.warmup"],
    "cnn/plain56": ["model.depth=8", "~schedule.warmup"],
}


def write(raw: Path) -> None:
    rng = np.random.default_rng(0)
    with tarfile.open(raw / "cifar10.tar.xz", "w:xz") as archive:
        for split, rows in ROWS.items():
            for label, name in enumerate(CLASSES):
                for row in range(rows):
                    pixels = rng.integers(0, 60, (32, 32, 3)) + 18 * label
                    buffer = io.BytesIO()
                    Image.fromarray(pixels.astype(np.uint8)).save(buffer, format="JPEG")
                    info = tarfile.TarInfo(f"{split}/{name}/{row:04d}.jpg")
                    info.size = buffer.tell()
                    archive.addfile(info, io.BytesIO(buffer.getvalue()))
