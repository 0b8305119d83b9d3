"""A zip of JPEG photos of several sizes and joints.mat with more columns than there are photos, as in the real one."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat

PHOTOS = 38
PREPARE: dict[str, Any] = {"size": 33, "validation_rows": 10, "test_rows": 11}
EXPERIMENT = {"pose/convnet": ["model.width=4"]}


def write(raw: Path) -> None:
    rng = np.random.default_rng(0)
    joints = np.zeros((14, 3, PHOTOS + 5))
    with zipfile.ZipFile(raw / "lsp_extended_1500.zip", "w") as archive:
        for number in range(PHOTOS):
            width, height = (int(side) for side in rng.integers(40, 90, 2))
            places = rng.uniform(0.1, 0.9, (14, 2)) * (width, height)
            visible = rng.random(14) < 0.85
            visible[[9, 2]] = True  # a torso
            joints[:, :, number] = np.concatenate([np.where(visible[:, None], places, -30.0), visible[:, None]], axis=1)
            photo = io.BytesIO()
            Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(photo, "JPEG")
            archive.writestr(f"images/im{number + 1:05d}.jpg", photo.getvalue())
        table = io.BytesIO()
        savemat(table, {"joints": joints})
        archive.writestr("joints.mat", table.getvalue())
