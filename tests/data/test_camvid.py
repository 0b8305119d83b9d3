"""CamVid's reader: on a tiny archive of its format, and on the real one where the mirror has it."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.data.sources.camvid import read_camvid
from components.errors import UserError
from flows.compose import compose
from tests.systems.tiny import camvid as tiny

ROOT = Path(__file__).parents[2]
CLASSES = ["sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist", "void"]


@pytest.fixture
def raw(tmp_path):
    tiny.write(tmp_path)
    return tmp_path


def opened(raw, name):
    with zipfile.ZipFile(raw / "camvid.zip") as archive:
        return np.asarray(Image.open(io.BytesIO(archive.read(name))))


def test_a_row_is_a_photo_and_its_labels_in_the_order_of_names(raw):
    data = read_camvid(raw, CLASSES)
    assert {split: len(columns["masks"]) for split, columns in data.splits.items()} == {"train": 14, "validation": 11, "test": 12}
    assert data.columns["inputs"].shape == (3, 32, 48) and data.columns["masks"].shape == (32, 48)
    assert np.array_equal(data.splits["validation"]["inputs"][3], opened(raw, "CamVid/val/frame_003.jpg").transpose(2, 0, 1))
    assert np.array_equal(data.splits["test"]["masks"][5], opened(raw, "CamVid/testannot/frame_005.png"))


def test_half_size_takes_the_mean_of_a_block_and_a_label_at_its_centre(raw):
    data = read_camvid(raw, CLASSES, reduction=2)
    photo, labels = opened(raw, "CamVid/train/frame_000.jpg"), opened(raw, "CamVid/trainannot/frame_000.png")
    mean = photo.astype(float).reshape(16, 2, 24, 2, 3).mean((1, 3)).transpose(2, 0, 1)
    assert np.abs(data.splits["train"]["inputs"][0] - mean).max() <= 0.5
    assert np.array_equal(data.splits["train"]["masks"][0], labels[1::2, 1::2])


def test_what_is_wrong_is_told(raw):
    with pytest.raises(UserError, match="without a name"):
        read_camvid(raw, CLASSES[:-1])
    with pytest.raises(UserError, match="no 5 x 5 blocks"):
        read_camvid(raw, CLASSES, reduction=5)
    with zipfile.ZipFile(raw / "camvid.zip", "a") as archive:
        archive.writestr("CamVid/val/frame_999.jpg", archive.read("CamVid/val/frame_000.jpg"))
    with pytest.raises(UserError, match=r"no label image CamVid/valannot/frame_999\.png"):
        read_camvid(raw, CLASSES)


def test_the_weights_of_the_experiment_are_those_of_the_real_training_frames(mirror):
    """`median frequency / frequency` by Eigen and Fergus's definition, from the pixels; and SegNet's numbers of frames."""
    if not (mirror / "camvid.zip").is_file():
        pytest.skip(f"no camvid.zip in {mirror}")
    with zipfile.ZipFile(mirror / "camvid.zip") as archive:
        names = [name for name in archive.namelist() if name.endswith(".png")]
        train = [np.asarray(Image.open(io.BytesIO(archive.read(name)))) for name in names if "/trainannot/" in name]
    assert [sum(f"/{folder}annot/" in name for name in names) for folder in ("train", "val", "test")] == [367, 101, 233]
    pixels = np.stack([np.bincount(labels.ravel(), minlength=12)[:11] for labels in train])
    frequency = pixels.sum(0) / ((pixels > 0).sum(0) * train[0].size)
    assert (np.median(frequency) / frequency).round(3).tolist() == compose(ROOT, ["experiment=segmentation/unet_full"]).loss.options["weights"]
