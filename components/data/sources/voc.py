"""Pascal VOC's annotations: one XML file a photo (Everingham et al. 2010, "The PASCAL visual object classes challenge", development kit)."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from components.data.columns import SourceData
from components.data.sources.objects import Files, Photo, detection_data, open_files, read_member
from components.errors import UserError

SPLITS = {"train": "train", "validation": "val", "test": "test"}  # ours -> the name in ImageSets/Main
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read_voc(raw: Path, archive: str, folder: str, classes: list[str], width: int, height: int) -> SourceData:
    """Read photos and boxes from a zip archive that stays packed; the splits are those of ImageSets/Main.

    Coordinates in the files are numbers of pixels, from 1, both ends included: a box that covers the image says 1, 1, W, H. So 1 is taken off the
    upper left corner. A box of which the file says that its ends are equal or exchanged is left out (BCCD has two with four equal numbers, in
    BloodImage_00343 and BloodImage_00338).

    Args:
        raw: holds the archive.
        archive: a zip file with `folder`/Annotations/*.xml, JPEGImages/*.jpg and ImageSets/Main/{train,val,test}.txt.
        folder: inside the archive.
        classes: the names of labels 0, 1, ...
        width, height: of the prepared photos, pixels; the aspect is kept, what is lacking is 0.

    Returns:
        `inputs` uint8 `(3, height, width)`, ragged `boxes` float32 `(4,)` in pixels of these, ragged `labels` int64.

    Raises:
        UserError: a file is lacking or cannot be read, or an object has another class than defined.
    """
    with open_files(raw / archive) as files:
        photos = {}
        for split, name in SPLITS.items():
            ids = read_member(files, f"{folder}/ImageSets/Main/{name}.txt").decode().split()
            photos[split] = [_photo(files, folder, photo_id, classes) for photo_id in ids]
        return detection_data(photos, lambda name: read_member(files, name), classes, width, height)


def _photo(files: Files, folder: str, photo_id: str, classes: list[str]) -> Photo:
    name = f"{folder}/Annotations/{photo_id}.xml"
    try:
        found = [_object(node) for node in ElementTree.fromstring(read_member(files, name)).iter("object")]
    except (ElementTree.ParseError, TypeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{name} is no annotation of Pascal VOC: {error}", expected="objects with a name and a bndbox of four numbers") from error
    unknown = sorted({label for label, _ in found} - set(classes))
    if unknown:
        raise UserError(
            f"{name} holds objects of other classes than defined", received=unknown, expected=classes, mend="list them in data.prepare.classes"
        )
    whole = [(label, box) for label, box in found if box[2] > box[0] and box[3] > box[1]]
    boxes = [(box[0] - 1, box[1] - 1, box[2], box[3]) for _, box in whole]
    return Photo(f"{folder}/JPEGImages/{photo_id}.jpg", [*boxes], [classes.index(label) for label, _ in whole])


def _object(node: ElementTree.Element) -> tuple[str, list[float]]:
    return node.findtext("name", ""), [float(node.findtext(f"bndbox/{corner}")) for corner in _CORNERS]  # type: ignore[arg-type]  # None: a TypeError
