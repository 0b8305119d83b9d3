"""Leeds Sports Pose: the crop moves joints with the pixels that they lie on; what is not labelled stays out of everything."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from components.data.sources.lsp import cut_person, mean_pose, read_lsp
from components.errors import UserError
from tests.systems.tiny import lsp as tiny

OPTIONS = {"size": 32, "margin": 1.3, "validation_rows": 10, "test_rows": 11, "seed": 0}


def photo_with_dots(places: np.ndarray, width: int = 120, height: int = 90) -> bytes:
    """A black photo, a 3 x 3 white square about each place."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    for x, y in places.round().astype(int):
        pixels[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2] = 255
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("size", [40, 96, 150])
def test_joints_lie_on_the_same_pixels_as_before(size):
    places = np.array([[10, 20], [110, 25], [60, 80], [15, 70], [100, 60]] + [[60, 40]] * 9, dtype=float)
    person = np.concatenate([places, np.ones((14, 1))], axis=1)
    image, keypoints = cut_person(photo_with_dots(places), person, size, 1.3)
    assert image.shape == (3, size, size) and image.dtype == np.uint8
    rows, columns = np.mgrid[:size, :size]
    for x, y, _ in keypoints[:5]:
        near = (abs(columns - x) <= 0.05 * size) & (abs(rows - y) <= 0.05 * size)
        weight = image[0].astype(float) * near
        assert (weight * columns).sum() / weight.sum() == pytest.approx(x, abs=0.35)
        assert (weight * rows).sum() / weight.sum() == pytest.approx(y, abs=0.35)
    extent = np.ptp(keypoints[:, :2], axis=0).max()
    assert extent == pytest.approx(size / 1.3, rel=0.02)


def test_joints_that_are_not_labelled_neither_widen_the_box_nor_have_a_place():
    person = np.concatenate([np.linspace(20, 60, 28).reshape(14, 2), np.ones((14, 1))], axis=1)
    person[3] = [-500.0, 0.0, 0.0]
    _, keypoints = cut_person(photo_with_dots(np.zeros((0, 2))), person, 64, 1.5)
    assert keypoints[3].tolist() == [0.0, 0.0, 0.0]
    assert np.ptp(keypoints[keypoints[:, 2] > 0, 0]) > 30
    with pytest.raises(UserError, match="no labelled joint"):
        cut_person(photo_with_dots(np.zeros((0, 2))), person * [1, 1, 0], 64, 1.5)


def test_the_mean_pose_leaves_out_what_is_not_labelled():
    keypoints = np.array([[[2, 4, 2], [0, 0, 0]], [[4, 8, 2], [6, 6, 2]], [[0, 0, 0], [0, 0, 0]]], dtype=np.float32)
    assert mean_pose(keypoints).tolist() == [[3, 6], [6, 6]]


def test_the_archive_is_read_where_it_lies(tmp_path):
    tiny.write(tmp_path)
    data = read_lsp(tmp_path, **OPTIONS)
    assert {name: len(split["inputs"]) for name, split in data.splits.items()} == {"train": tiny.PHOTOS - 21, "validation": 10, "test": 11}
    every = np.concatenate([split["inputs"] for split in data.splits.values()])
    assert len(np.unique(every.reshape(len(every), -1), axis=0)) == tiny.PHOTOS  # a photo is in one split
    train, test = data.splits["train"], data.splits["test"]
    np.testing.assert_array_equal(train["mean_pose"][0], mean_pose(train["keypoints"]))
    np.testing.assert_array_equal(test["mean_pose"], np.repeat(train["mean_pose"][:1], 11, axis=0))
    assert set(np.unique(train["keypoints"][..., 2])) == {0.0, 2.0}
    again = read_lsp(tmp_path, **OPTIONS)
    np.testing.assert_array_equal(again.splits["test"]["inputs"], test["inputs"])


def test_unfit_files_and_splits_are_refused(tmp_path):
    tiny.write(tmp_path)
    with pytest.raises(UserError, match="no photo for training"):
        read_lsp(tmp_path, **{**OPTIONS, "test_rows": 40})
    with zipfile.ZipFile(tmp_path / "lsp_extended_1500.zip", "w") as archive:
        archive.writestr("joints.mat", b"no table")
    with pytest.raises(UserError, match=r"joints\.mat"):
        read_lsp(tmp_path, **OPTIONS)
