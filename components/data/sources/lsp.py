"""Leeds Sports Pose Extended (Johnson and Everingham 2011): photos of athletes, 14 joints each, cut to the person.

The file calls a joint visible or not. What is not visible there has no place either (its coordinates lie outside the photo, negative ones), so
it is a joint that is not labelled rather than one that is hidden. Labels were made by Mechanical Turk workers and contain mistakes.

Legend: N photos, K = 14 joints, S side of a crop in pixels.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from components.data.card import Column
from components.data.columns import Columns, SourceData
from components.data.permutation import permutation
from components.data.skeleton import JOINTS, SEEN
from components.errors import UserError

Floats = npt.NDArray[np.float64]

_ARCHIVE = "lsp_extended_1500.zip"


def read_lsp(raw: Path, size: int, margin: float, validation_rows: int, test_rows: int, seed: int) -> SourceData:
    """Read the photos, each cut to a square about its labelled joints and resized bilinearly; what lies outside the photo is black.

    The cut takes the place and size of the person from the labels, at test time too, as is usual with this set: finding the person is another task.

    Args:
        raw: holds lsp_extended_1500.zip, which is read where it lies.
        size: S.
        margin: side of the square : longer side of the joints' box.
        validation_rows, test_rows: of all photos, drawn at random; the rest is for training.
        seed: of that choice.

    Returns:
        `inputs` uint8 `(3, S, S)`, `keypoints` float32 `(K, 3)` (x, y in pixels of the crop; v 2, or 0 with x = y = 0 where not labelled) and
        `mean_pose` float32 `(K, 2)`, the mean of the labelled training joints, the same in every row: what one says without looking.

    Raises:
        UserError: the archive lacks a part, or the splits leave no photo for training.
    """
    with zipfile.ZipFile(raw / _ARCHIVE) as archive:
        joints = _joints(archive)
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        if not names or len(joints) < len(names):
            raise UserError(f"{_ARCHIVE} does not fit its joints.mat", received=f"{len(names)} photos, joints of {len(joints)}")
        cut = [cut_person(archive.read(name), person, size, margin) for name, person in zip(names, joints, strict=False)]
    if validation_rows + test_rows >= len(cut):
        raise UserError("the splits leave no photo for training", received=f"{len(cut)} photos", expected=f"more than {validation_rows + test_rows}")
    images, keypoints = np.stack([image for image, _ in cut]), np.stack([points for _, points in cut])
    order = permutation(len(cut), seed)
    ends = (test_rows, test_rows + validation_rows)
    rows = {"train": np.sort(order[ends[1] :]), "validation": np.sort(order[ends[0] : ends[1]]), "test": np.sort(order[: ends[0]])}
    mean = mean_pose(keypoints[rows["train"]])
    columns = {
        "inputs": Column("uint8", images.shape[1:]),
        "keypoints": Column("float32", keypoints.shape[1:]),
        "mean_pose": Column("float32", mean.shape),
    }
    splits: dict[str, Columns] = {
        name: {"inputs": images[r], "keypoints": keypoints[r], "mean_pose": np.repeat(mean[None], len(r), axis=0)} for name, r in rows.items()
    }
    return SourceData(columns, splits)


def _joints(archive: zipfile.ZipFile) -> Floats:
    """Return `(photos or more, K, 3)`: x, y, visible."""
    from scipy.io import loadmat  # half a second, and only this reader needs it
    from scipy.io.matlab import MatReadError

    try:
        joints = loadmat(io.BytesIO(archive.read("joints.mat")))["joints"]
    except (KeyError, ValueError, TypeError, MatReadError) as error:
        raise UserError(f"{_ARCHIVE} holds no joints.mat that can be read: {error}", received=archive.filename) from error
    if joints.ndim != 3 or joints.shape[:2] != (len(JOINTS), 3):
        raise UserError("joints.mat has another shape", received=joints.shape, expected=f"({len(JOINTS)}, 3, photos)")
    people: Floats = joints.transpose(2, 0, 1).astype(np.float64)
    return people


def cut_person(photo: bytes, person: Floats, size: int, margin: float) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Cut a photo to the square about its labelled joints; the joints move along.

    Args:
        photo: JPEG.
        person: `(K, 3)`, x, y in pixels of the photo, visible.
        size, margin: as in `read_lsp`.

    Returns:
        `(3, S, S)` and `(K, 3)`.

    Raises:
        UserError: no joint is labelled.
    """
    from PIL import Image

    labelled = person[:, 2] > 0
    if not labelled.any():
        raise UserError("a photo of the set has no labelled joint", received=person.tolist())
    low, high = person[labelled, :2].min(axis=0), person[labelled, :2].max(axis=0)
    side = max(8, round(margin * float((high - low).max())))
    left, top = (round(float(middle) - side / 2) for middle in (low + high) / 2)
    square = Image.open(io.BytesIO(photo)).convert("RGB").crop((left, top, left + side, top + side))
    image = np.asarray(square.resize((size, size), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    # Pixels have their centres at whole numbers before and after.
    moved = (person[:, :2] + 0.5 - (left, top)) * (size / side) - 0.5
    keypoints = np.concatenate([moved, np.full((len(person), 1), float(SEEN))], axis=1) * labelled[:, None]
    return np.ascontiguousarray(image), keypoints.astype(np.float32)


def mean_pose(keypoints: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return each joint's mean over the rows where it is labelled, `(N, K, 3) -> (K, 2)`; 0 where it never is."""
    labelled = keypoints[..., 2:] > 0
    total = np.where(labelled, keypoints[..., :2], 0).astype(np.float64).sum(axis=0)
    mean: npt.NDArray[np.float32] = (total / np.maximum(labelled.sum(axis=0), 1)).astype(np.float32)
    return mean
