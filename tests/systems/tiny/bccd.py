"""Pascal VOC's form in a zip file: discs on a noisy ground, 64 x 48, each class of a size and colour of its own."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

PREPARE = {"width": 64, "height": 48}
_SMALL = ["model.widths=[6,8,10,12]", "model.blocks=[0,1,0,1]", "trainer.precision=fp32"]  # in bf16 two workers round otherwise than one
EXPERIMENT = {"detection/yolo": _SMALL, "detection/yolo_full": _SMALL}

ROWS = {"train": 18, "val": 10, "test": 10}
CLASSES = {"RBC": (14, (220, 120, 120)), "WBC": (24, (120, 90, 200)), "Platelets": (6, (150, 60, 160))}
_WIDTH, _HEIGHT = 64, 48


def write(raw: Path) -> None:
    rng = np.random.default_rng(5)
    with zipfile.ZipFile(raw / "bccd.zip", "w") as archive:
        for split, rows in ROWS.items():
            ids = [f"{split}_{row:03d}" for row in range(rows)]
            archive.writestr(f"BCCD/ImageSets/Main/{split}.txt", "".join(f"{name}\n" for name in ids))
            for name in ids:
                photo, objects = _photo(rng)
                buffer = io.BytesIO()
                Image.fromarray(photo).save(buffer, format="JPEG", quality=95)
                archive.writestr(f"BCCD/JPEGImages/{name}.jpg", buffer.getvalue())
                archive.writestr(f"BCCD/Annotations/{name}.xml", annotation(objects))


def annotation(objects: list[tuple[str, tuple[int, int, int, int]]]) -> str:
    """Return the XML of a photo; boxes are xmin, ymin, xmax, ymax as VOC counts: from 1, both ends included."""
    corners = ("xmin", "ymin", "xmax", "ymax")
    boxes = ["".join(f"<{corner}>{value}</{corner}>" for corner, value in zip(corners, box, strict=True)) for _, box in objects]
    found = "".join(f"<object><name>{name}</name><bndbox>{box}</bndbox></object>" for (name, _), box in zip(objects, boxes, strict=True))
    return f"<annotation><size><width>{_WIDTH}</width><height>{_HEIGHT}</height></size>{found}</annotation>"


def _photo(rng: np.random.Generator) -> tuple[np.ndarray, list[tuple[str, tuple[int, int, int, int]]]]:
    photo = rng.integers(150, 250, (_HEIGHT, _WIDTH, 3)).astype(np.uint8)
    y, x = np.mgrid[:_HEIGHT, :_WIDTH]
    objects = []
    for name, (side, colour) in CLASSES.items():
        left, top = int(rng.integers(0, _WIDTH - side)), int(rng.integers(0, _HEIGHT - side))
        centre = (side - 1) / 2
        photo[np.hypot(x - left - centre, y - top - centre) <= side / 2] = colour
        objects.append((name, (left + 1, top + 1, left + side, top + side)))
    return photo, objects
