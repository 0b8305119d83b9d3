"""What the readers of detection data share: photos of one size, and the boxes on them.

Boxes are `(x1, y1, x2, y2)` in pixels of the prepared photo, edges: a photo spans [0, W] x [0, H].
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from components.data.card import Column
from components.data.columns import Columns, Ragged, SourceData
from components.errors import UserError

Box = Sequence[float]  # x1, y1, x2, y2


@dataclass(frozen=True)
class Photo:
    """A photo's name in its archive, and its objects in pixels of the photo as it is there."""

    name: str
    boxes: list[Box]
    labels: list[int]


class Folder:
    """A folder, read as an archive is."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing is open."""

    def read(self, name: str) -> bytes:
        """Return a file's content; KeyError where there is none, as in an archive."""
        try:
            return (self.path / name).read_bytes()
        except OSError as error:
            raise KeyError(name) from error

    def namelist(self) -> list[str]:
        """Names of its files, folders inside it included."""
        return sorted(path.relative_to(self.path).as_posix() for path in self.path.rglob("*") if path.is_file())


Files = zipfile.ZipFile | Folder


def open_files(path: Path) -> Files:
    """Open a folder, or a zip file whose content is not unpacked.

    Raises:
        UserError: there is nothing, or it is neither.
    """
    if path.is_dir():
        return Folder(path)
    try:
        return zipfile.ZipFile(path)
    except (FileNotFoundError, zipfile.BadZipFile) as error:
        raise UserError(f"{path.name} is no zip archive: {error}", received=path, mend="fetch the raw data again") from error


def read_member(files: Files, name: str) -> bytes:
    """Return the content of one file.

    Raises:
        UserError: there is none of that name.
    """
    try:
        return files.read(name)
    except KeyError as error:
        some = ", ".join(files.namelist()[:3])
        raise UserError(f"the raw data hold no {name}", received=f"{len(files.namelist())} files", expected=f"names such as {some}") from error


def detection_data(
    photos: Mapping[str, Iterable[Photo]], read: Callable[[str], bytes], classes: Sequence[str], width: int, height: int
) -> SourceData:
    """Make the columns `inputs` uint8 `(3, H, W)`, ragged `boxes` float32 `(4,)` and ragged `labels` int64.

    Boxes are cut to their photo; one that has no area, before or after, is left out: it is an error of the annotation.

    Args:
        photos: split -> its photos.
        read: name -> bytes of an image file.
        classes: the names of labels 0, 1, ...
        width, height: of the prepared photos, pixels.

    Raises:
        UserError: a file is no image.
    """
    columns = {
        "inputs": Column("uint8", (3, height, width)),
        "boxes": Column("float32", (4,), ragged=True),
        "labels": Column("int64", ragged=True, classes=tuple(classes)),
    }
    return SourceData(columns, {split: _columns(list(rows), read, width, height) for split, rows in photos.items()})


def _columns(photos: list[Photo], read: Callable[[str], bytes], width: int, height: int) -> Columns:
    images = np.zeros((len(photos), 3, height, width), np.uint8)
    boxes, labels, counts = [], [], []
    for row, photo in enumerate(photos):
        picture = _open(read(photo.name), photo.name)
        images[row], scale = fit(picture, width, height)
        limits = np.array([*picture.size, *picture.size], np.float64)
        cut = np.clip(np.array(photo.boxes, np.float64).reshape(-1, 4), 0, limits)
        whole = (cut[:, 2:] > cut[:, :2]).all(axis=1)
        boxes.append((cut[whole] * scale).astype(np.float32))
        labels.append(np.array(photo.labels, np.int64)[whole])
        counts.append(int(whole.sum()))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return {
        "inputs": images,
        "boxes": Ragged(np.concatenate([np.zeros((0, 4), np.float32), *boxes]), offsets),
        "labels": Ragged(np.concatenate([np.zeros(0, np.int64), *labels]), offsets),
    }


def _open(content: bytes, name: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(content)).convert("RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise UserError(f"{name} is no image: {error}", received=f"{len(content)} bytes") from error


def fit(picture: Image.Image, width: int, height: int) -> tuple[npt.NDArray[np.uint8], float]:
    """Resize a photo to fit a frame, its aspect kept; it stands in the frame's upper left corner, the rest is 0.

    Returns:
        uint8 `(3, height, width)` and the factor from old pixels to new ones.
    """
    scale = min(width / picture.width, height / picture.height)
    sides = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    frame = np.zeros((3, height, width), np.uint8)
    frame[:, : sides[1], : sides[0]] = np.asarray(picture.resize(sides, Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    return frame, scale
