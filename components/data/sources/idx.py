"""The IDX format of MNIST and its kin (LeCun, Cortes and Burges, yann.lecun.com/exdb/mnist, "File formats")."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from components.data.card import Column
from components.data.columns import Columns, SourceData
from components.data.splits import stratified_split
from components.errors import UserError

_UNSIGNED_BYTE = 0x08  # the third byte of the magic number: the element type


def read_idx(raw: Path, classes: list[str], validation_rows: int, seed: int) -> SourceData:
    """Read the four files of an MNIST-like set; validation is a stratified part of the official training rows.

    Args:
        raw: holds train-images-idx3-ubyte, train-labels-idx1-ubyte and the same with t10k for test.
        classes: the names of labels 0, 1, ...
        validation_rows: taken from the training rows.
        seed: of that choice.

    Returns:
        `inputs` uint8 `(1, H, W)` in 0..255 and `targets` int64 `()` for train, validation and test.

    Raises:
        UserError: a file is no IDX file of unsigned bytes, or images and labels differ in number.
    """
    images, labels = _pair(raw, "train")
    test_images, test_labels = _pair(raw, "t10k")
    rows = stratified_split(labels, {"validation": validation_rows}, "train", seed)
    columns = {"inputs": Column("uint8", images.shape[1:]), "targets": Column("int64", classes=tuple(classes))}
    splits: dict[str, Columns] = {name: {"inputs": images[r], "targets": labels[r]} for name, r in rows.items()}
    splits["test"] = {"inputs": test_images, "targets": test_labels}
    return SourceData(columns, splits)


def _pair(raw: Path, part: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    images = parse_idx(raw / f"{part}-images-idx3-ubyte", dimensions=3)
    labels = parse_idx(raw / f"{part}-labels-idx1-ubyte", dimensions=1)
    if len(images) != len(labels):
        raise UserError(f"the {part} images and labels differ in number", received=f"{len(images)} images, {len(labels)} labels")
    return images[:, None], labels.astype(np.int64)


def parse_idx(path: Path, dimensions: int) -> npt.NDArray[np.uint8]:
    """Read one IDX file: magic `0, 0, type, dimensions`, big-endian int32 sizes, then the values in C order.

    Raises:
        UserError: the header or the length is not that of unsigned bytes in so many dimensions.
    """
    content = path.read_bytes()
    start = 4 + 4 * dimensions
    if len(content) < start or content[:4] != bytes([0, 0, _UNSIGNED_BYTE, dimensions]):
        raise UserError(f"{path.name} is no IDX file", received=content[:4].hex(), expected=f"000008{dimensions:02x} (unsigned bytes)")
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", count=dimensions, offset=4))
    expected = start + int(np.prod(shape))
    if len(content) != expected:
        raise UserError(f"{path.name} has another length than its header says", received=f"{len(content)} bytes", expected=f"{expected} bytes")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
