"""COCO's annotations: one JSON file for many photos (Lin et al. 2014, "Microsoft COCO", cocodataset.org/#format-data)."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from components.data.columns import SourceData
from components.data.permutation import permutation
from components.data.sources.objects import Files, Photo, detection_data, open_files, read_member
from components.errors import UserError

SPLITS = ("train", "validation", "test")


def read_coco(
    raw: Path,
    annotations: dict[str, str],
    images: str,
    width: int,
    height: int,
    validation_fraction: float = 0.0,
    test_fraction: float = 0.0,
    seed: int = 0,
    archive: str = "",
) -> SourceData:
    """Read your own photos and boxes.

    A `bbox` is x, y, width, height from the photo's upper left corner, in pixels. Crowds (`iscrowd` 1) are left out: such a box is round many.
    The classes are the file's categories in the order of their ids, which need not be 0, 1, ...

    Args:
        raw: the folder of raw files.
        annotations: split -> JSON file; `train` at least. A split without one is drawn from the training photos.
        images: folder of the photos, put before each `file_name`.
        width, height: of the prepared photos, pixels; the aspect is kept, what is lacking is 0.
        validation_fraction, test_fraction: of the training photos, for a split without a file.
        seed: of that choice.
        archive: a zip file in raw that holds everything and stays packed; none: raw itself does.

    Returns:
        `inputs` uint8 `(3, height, width)`, ragged `boxes` float32 `(4,)` x1, y1, x2, y2 in pixels of these, ragged `labels` int64.

    Raises:
        UserError: a file is lacking or not in COCO's form, the files differ in their categories, or a split has neither file nor fraction.
    """
    fractions = {"validation": validation_fraction, "test": test_fraction}
    _require_splits(annotations, fractions)
    with open_files(raw / archive) as files:
        read = {split: _annotations(files, name, images) for split, name in annotations.items()}
        categories = {split: names for split, (names, _) in read.items()}
        if any(names != categories["train"] for names in categories.values()):
            raise UserError("the annotation files differ in their categories", received=categories)
        photos = _drawn({split: found for split, (_, found) in read.items()}, fractions, seed)
        return detection_data(photos, lambda name: read_member(files, name), categories["train"], width, height)


def _require_splits(annotations: dict[str, str], fractions: dict[str, float]) -> None:
    if "train" not in annotations or set(annotations) - set(SPLITS):
        raise UserError("annotations must name a file for train", received=sorted(annotations), expected="train, and perhaps validation and test")
    for split, fraction in fractions.items():
        if (split in annotations) == (fraction > 0):
            raise UserError(
                f"the {split} split needs either a file or a fraction",
                received=f"annotations.{split}={annotations.get(split)}, {split}_fraction={fraction}",
                mend=f"set data.prepare.{split}_fraction=0.15, or name a file under data.prepare.annotations.{split}, not both",
            )


def _annotations(files: Files, name: str, folder: str) -> tuple[list[str], list[Photo]]:
    """Return the categories' names by id, and the photos by id."""
    try:
        content = json.loads(read_member(files, name))
        categories = sorted((int(c["id"]), str(c["name"])) for c in content["categories"])
        names = {int(photo["id"]): str(photo["file_name"]) for photo in content["images"]}
        objects = [o for o in content["annotations"] if not o.get("iscrowd", 0)]
        found = [(int(o["image_id"]), int(o["category_id"]), _corners(o["bbox"])) for o in objects]
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        expected = "images [{id, file_name}], annotations [{image_id, category_id, bbox [x, y, width, height]}], categories [{id, name}]"
        raise UserError(f"{name} is not in COCO's form: {type(error).__name__}: {error}", expected=expected) from error
    labels = {number: label for label, (number, _) in enumerate(categories)}
    by_photo: dict[int, list[tuple[int, list[float]]]] = defaultdict(list)
    for photo, category, box in found:
        if photo not in names or category not in labels:
            raise UserError(f"{name} has an object of an unknown image or category", received=f"image_id={photo}, category_id={category}")
        by_photo[photo].append((labels[category], box))
    prefix = f"{folder.rstrip('/')}/" if folder else ""
    photos = [Photo(prefix + names[i], [box for _, box in by_photo[i]], [label for label, _ in by_photo[i]]) for i in sorted(names)]
    return [category for _, category in categories], photos


def _corners(box: Any) -> list[float]:
    x, y, width, height = (float(value) for value in box)
    return [x, y, x + width, y + height]


def _drawn(photos: dict[str, list[Photo]], fractions: dict[str, float], seed: int) -> dict[str, list[Photo]]:
    """Give each split without photos its part of the training photos."""
    training = photos["train"]
    order, start = permutation(len(training), seed), 0
    parts = dict(photos)
    for split, fraction in fractions.items():
        size = round(fraction * len(training))
        if split not in photos:
            parts[split] = [training[i] for i in sorted(order[start : start + size])]
            start += size
    if start >= len(training):
        raise UserError("the fractions leave no training photos", received=fractions, expected="together below 1")
    parts["train"] = [training[i] for i in sorted(order[start:])]
    return {split: parts[split] for split in SPLITS}
