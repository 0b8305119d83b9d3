"""CamVid (Brostow, Fauqueur and Cipolla 2009) as SegNet uses it: 480 x 360 pixels, 11 classes and void, 367 / 101 / 233 frames."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from components.data.card import Column
from components.data.columns import Array, Columns, SourceData
from components.errors import UserError

_FOLDERS = {"train": "train", "validation": "val", "test": "test"}


def read_camvid(raw: Path, classes: list[str], reduction: int = 1) -> SourceData:
    """Read the photos and their label images out of the archive, without unpacking it.

    Frames are in the order of their names, which is that of time. The splits are SegNet's: train and validation hold frames of the same drives.

    Args:
        raw: holds camvid.zip with `CamVid/{train,val,test}/*.jpg` (or .png) and `CamVid/{...}annot/*.png`.
        classes: the names of labels 0, 1, ..., void last.
        reduction: 2 halves height and width: a photo's pixel is the mean of its 2 x 2 block, a label the one at the block's centre
            (for an even number that after it), for labels cannot be averaged.

    Returns:
        `inputs` uint8 `(3, H, W)` in 0..255 and `masks` uint8 `(H, W)` for train, validation and test.

    Raises:
        UserError: a photo has no label image, sizes differ, or a label has no name.
    """
    with zipfile.ZipFile(raw / "camvid.zip") as archive:
        splits = {split: _split(archive, folder, reduction, len(classes)) for split, folder in _FOLDERS.items()}
    height, width = splits["train"]["masks"].shape[1:]
    columns = {"inputs": Column("uint8", (3, height, width)), "masks": Column("uint8", (height, width), classes=tuple(classes))}
    described: dict[str, Columns] = dict(splits)
    return SourceData(columns, described)


def _split(archive: zipfile.ZipFile, folder: str, reduction: int, num_classes: int) -> dict[str, Array]:
    members = {name.removeprefix(f"CamVid/{folder}/"): name for name in archive.namelist() if name.startswith(f"CamVid/{folder}/")}
    photos = sorted(name for name in members if name.endswith((".jpg", ".png")))
    if not photos:
        raise UserError(f"camvid.zip holds no photos in CamVid/{folder}", received=archive.filename)
    pairs = [_pair(archive, members[photo], f"CamVid/{folder}annot/{Path(photo).stem}.png", reduction) for photo in photos]
    inputs, masks = (np.stack(column) for column in zip(*pairs, strict=True))
    if masks.max() >= num_classes:
        raise UserError(f"a label image of CamVid/{folder} holds a label without a name", received=int(masks.max()), expected=f"0..{num_classes - 1}")
    return {"inputs": inputs, "masks": masks}


def _pair(archive: zipfile.ZipFile, photo: str, labels: str, reduction: int) -> tuple[Array, Array]:
    """Return one frame, (3, H, W) and (H, W) uint8."""
    try:
        label_file = archive.read(labels)
    except KeyError as error:
        raise UserError(f"camvid.zip has no label image {labels}", received=photo) from error
    with Image.open(io.BytesIO(archive.read(photo))) as picture, Image.open(io.BytesIO(label_file)) as marked:
        if picture.size != marked.size or any(side % reduction for side in picture.size):
            raise UserError(
                f"{photo} and its labels differ in size, or no {reduction} x {reduction} blocks fit", received=(picture.size, marked.size)
            )
        pixels = np.asarray(picture.convert("RGB").reduce(reduction)).transpose(2, 0, 1)
        return pixels, np.asarray(marked, np.uint8)[reduction // 2 :: reduction, reduction // 2 :: reduction]
