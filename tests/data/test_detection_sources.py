"""Photos with boxes: VOC and COCO files that were written by hand, their errors, and facts of the real blood cells."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pytest
import yaml
from PIL import Image

from components.data.card import Column
from components.data.sources.coco import read_coco
from components.data.sources.objects import fit
from components.data.sources.voc import read_voc
from components.decoding.anchors import anchors_of
from components.errors import UserError
from components.files import sha256_file
from components.spec.parse import parse_data
from flows.compose import compose
from tests.systems.small import ROOT
from tests.systems.tiny.bccd import annotation

CLASSES = ["cat", "dog"]


def picture(width, height):
    buffer = io.BytesIO()
    Image.fromarray(np.arange(width * height * 3, dtype=np.uint8).reshape(height, width, 3)).save(buffer, format="PNG")
    return buffer.getvalue()


def voc(folder, objects, **more):
    with zipfile.ZipFile(folder / "pets.zip", "w") as archive:
        for split in ("train", "val", "test"):
            archive.writestr(f"P/ImageSets/Main/{split}.txt", f"{split}0\n")
            archive.writestr(f"P/JPEGImages/{split}0.jpg", picture(40, 20))
            archive.writestr(f"P/Annotations/{split}0.xml", annotation(objects if split == "train" else []))
        for name, content in more.items():
            archive.writestr(name, content)
    return read_voc(folder, "pets.zip", "P", CLASSES, width=20, height=10)


def test_voc_counts_pixels_from_one(tmp_path):
    """The whole photo says 1, 1, W, H. A box is cut to the photo; one without extent, an error of the annotation, is left out."""
    objects = [("dog", (1, 1, 40, 20)), ("cat", (7, 7, 7, 7)), ("cat", (11, 5, 60, 14)), ("cat", (9, 5, 3, 14))]
    data = voc(tmp_path, objects)
    assert data.columns["boxes"] == Column("float32", (4,), ragged=True) and data.columns["labels"].classes == ("cat", "dog")
    train = data.splits["train"]
    assert train["inputs"].shape == (1, 3, 10, 20) and train["boxes"].offsets.tolist() == [0, 2]
    assert train["boxes"].values.tolist() == [[0, 0, 20, 10], [5, 2, 20, 7]] and train["labels"].values.tolist() == [1, 0]
    assert [len(data.splits[name]["boxes"].values) for name in ("validation", "test")] == [0, 0]


def test_voc_errors_name_the_file(tmp_path):
    with pytest.raises(UserError, match=r"train0.xml holds objects of other classes(.|\n)*owl"):
        voc(tmp_path, [("owl", (1, 1, 4, 4))])
    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as archive:
        archive.writestr("P/ImageSets/Main/train.txt", "one\n")
        archive.writestr("P/Annotations/one.xml", "<annotation><object><name>cat</name></object></annotation>")
    with pytest.raises(UserError, match=r"one.xml is no annotation of Pascal VOC"):
        read_voc(tmp_path, "pets.zip", "P", CLASSES, 20, 10)
    (tmp_path / "pets.zip").write_bytes(b"no zip")
    with pytest.raises(UserError, match=r"pets.zip is no zip archive"):
        read_voc(tmp_path, "pets.zip", "P", CLASSES, 20, 10)


def test_a_photo_keeps_its_aspect():
    found, scale = fit(Image.new("RGB", (40, 10), (9, 9, 9)), width=20, height=20)
    assert scale == 0.5 and found.shape == (3, 20, 20) and (found[:, :5] == 9).all() and not found[:, 5:].any()


def coco(folder, photos=10, **changes):
    """Photo i has i % 3 boxes; category ids are 4 and 9, the annotations in falling order."""
    (folder / "photos").mkdir(exist_ok=True)
    for i in range(photos):
        (folder / "photos" / f"{i}.png").write_bytes(picture(20, 10 + i))
    content = {
        "images": [{"id": 100 - i, "file_name": f"{i}.png"} for i in range(photos)],
        "categories": [{"id": 9, "name": "dog"}, {"id": 4, "name": "cat"}],
        "annotations": [
            {"image_id": 100 - i, "category_id": (4, 9)[k], "bbox": [2 + k, 1, 4, 8], "iscrowd": 0} for i in range(photos) for k in range(i % 3)
        ],
    }
    content["annotations"].append({"image_id": 100, "category_id": 4, "bbox": [0, 0, 20, 10], "iscrowd": 1})
    (folder / "labels.json").write_text(json.dumps({**content, **changes}))


def test_coco_boxes_are_corners_and_sides(tmp_path):
    coco(tmp_path)
    data = read_coco(tmp_path, {"train": "labels.json"}, "photos", 20, 20, validation_fraction=0.2, test_fraction=0.1, seed=3)
    assert {name: len(split["inputs"]) for name, split in data.splits.items()} == {"train": 7, "validation": 2, "test": 1}
    assert data.columns["labels"].classes == ("cat", "dog")
    boxes = np.concatenate([split["boxes"].values for split in data.splits.values()])
    labels = np.concatenate([split["labels"].values for split in data.splits.values()])
    assert sorted(map(tuple, boxes.tolist())) == [(2, 1, 6, 9)] * 6 + [(3, 1, 7, 9)] * 3 and np.array_equal(labels, boxes[:, 0] - 2)
    again = read_coco(tmp_path, {"train": "labels.json"}, "photos", 20, 20, validation_fraction=0.2, test_fraction=0.1, seed=3)
    assert np.array_equal(again.splits["test"]["inputs"], data.splits["test"]["inputs"])


def test_coco_files_for_each_split(tmp_path):
    coco(tmp_path)
    files = dict.fromkeys(("train", "validation", "test"), "labels.json")
    data = read_coco(tmp_path, files, "photos", 20, 20)
    assert {len(split["inputs"]) for split in data.splits.values()} == {10}


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({}, {"test_fraction": 0.0}, r"the test split needs either a file or a fraction(.|\n)*data.prepare.test_fraction=0.15"),
        ({}, {"annotations": {"test": "labels.json"}}, r"annotations must name a file for train"),
        ({}, {"images": "elsewhere"}, r"the raw data hold no elsewhere/"),
        ({"categories": [{"id": 4, "name": "cat"}]}, {}, r"object of an unknown image or category(.|\n)*category_id=9"),
        ({"annotations": [{"image_id": 100}]}, {}, r"labels.json is not in COCO's form: KeyError: 'category_id'(.|\n)*bbox"),
        ({}, {"validation_fraction": 0.9, "test_fraction": 0.1}, r"the fractions leave no training photos"),
    ],
)
def test_coco_errors_say_what_to_do(tmp_path, changes, options, message):
    coco(tmp_path, **changes)
    usual = {"annotations": {"train": "labels.json"}, "images": "photos", "validation_fraction": 0.2, "test_fraction": 0.1}
    with pytest.raises(UserError, match=message):
        read_coco(tmp_path, width=20, height=20, **{**usual, **options})


OWN = """
name: my_photos
title: My photos
licence: mine
homepage: none
num_classes: 2
fetch: {path: ../my_photos}  # a folder with labels.json and photos/
prepare:
  _target_: components.data.sources.coco.read_coco
  annotations: {train: labels.json}  # or a file for each of train, validation and test, and no fractions
  images: photos
  width: 256
  height: 192
  validation_fraction: 0.15
  test_fraction: 0.15
"""


def test_your_own_photos_need_a_short_file():
    assert len(OWN.strip().splitlines()) <= 20 and parse_data(yaml.safe_load(OWN)).num_classes == 2


def test_the_real_blood_cells_and_their_anchors(mirror, tmp_path):
    """Counts are those of the XML files less the two boxes without extent; the experiment's anchors come out again."""
    definition = parse_data(yaml.safe_load((ROOT / "conf" / "data" / "bccd.yaml").read_text()))
    assert sha256_file(mirror / "bccd.zip") == definition.fetch.files["bccd.zip"]
    options = definition.prepare.options
    # 16 x 12, because photos of that size are made fast; the boxes are then put into the recipe's pixels
    data = read_voc(mirror, **{**options, "width": 16, "height": 12})
    counts = {name: np.bincount(split["labels"].values).tolist() for name, split in data.splits.items()}
    assert counts == {"train": [2381, 214, 209], "validation": [967, 87, 83], "test": [805, 71, 69]}
    boxes = data.splits["train"]["boxes"].values.astype(np.float64) * (options["width"] / 16)
    task = compose(ROOT, ["experiment=detection/yolo"]).task
    assert np.allclose(anchors_of(boxes[:, 2:] - boxes[:, :2], len(task.options["anchors"])), task.options["anchors"], atol=0.051)
