"""Folders, zips and tars of photographs, against the pixels that were written."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.data.fetch import fetch
from components.data.prepare import prepare
from components.data.sources.image_folder import read_image_folder
from components.errors import UserError
from components.spec.parse import parse_data
from tests.systems.tiny import cifar10

CLASSES = ("cat", "dog")


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def photographs(prefix="", rows=10, side=4, seed=0):
    """`{path: pixels}`, as many of each class."""
    rng = np.random.default_rng(seed)
    return {f"{prefix}{name}/{i}.png": rng.integers(0, 256, (side, side, 3), dtype=np.uint8) for name in CLASSES for i in range(rows)}


def as_folder(raw: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        (raw / name).write_bytes(content)


def as_zip(raw: Path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(raw / "images.zip", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def as_tar(raw: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(raw / "images.tar.xz", "w:xz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def rows_of(split):
    return sorted((image.tobytes(), int(label)) for image, label in zip(split["inputs"], split["targets"], strict=True))


def written(images):
    return sorted((pixels.transpose(2, 0, 1).tobytes(), CLASSES.index(Path(name).parent.name)) for name, pixels in images.items())


@pytest.mark.parametrize(("write", "archive"), [(as_folder, None), (as_zip, "images.zip"), (as_tar, "images.tar.xz")])
def test_a_tree_is_read_whole_wherever_it_lies(tmp_path, write, archive):
    train, test = photographs("set/train/"), photographs("set/test/", rows=3, seed=1)
    others = {"set/readme.txt": b"no picture", "__MACOSX/set/train/cat/._0.png": b"a Mac's", "set/train/dog/.hidden.png": b"nothing"}
    write(tmp_path, {**{name: png(pixels) for name, pixels in {**train, **test}.items()}, **others})
    data = read_image_folder(tmp_path, archive, {"train": "set/train", "test": "set/test"}, validation_fraction=0.2, seed=3)
    assert data.columns["targets"].classes == CLASSES and data.columns["inputs"].shape == (3, 4, 4)
    assert rows_of(data.splits["test"]) == written(test)
    assert sorted(rows_of(data.splits["train"]) + rows_of(data.splits["validation"])) == written(train)
    assert np.bincount(data.splits["validation"]["targets"]).tolist() == [2, 2]
    assert np.abs(np.diff(data.splits["train"]["targets"])).sum() > 1  # the first rows are not all of one class


def test_fractions_of_one_tree_and_the_seed(tmp_path):
    as_zip(tmp_path, {name: png(pixels) for name, pixels in photographs("my photos/").items()})
    first, again, other = (read_image_folder(tmp_path, "images.zip", validation_fraction=0.2, test_fraction=0.1, seed=seed) for seed in (0, 0, 1))
    assert {name: len(split["targets"]) for name, split in first.splits.items()} == {"train": 14, "validation": 4, "test": 2}
    assert rows_of(first.splits["test"]) == rows_of(again.splits["test"]) != rows_of(other.splits["test"])


def test_photographs_of_any_size_become_squares_the_right_way_up(tmp_path):
    red_left = np.zeros((8, 16, 3), dtype=np.uint8)
    red_left[:, :8, 0] = 200
    turned = Image.fromarray(red_left)
    exif = turned.getexif()
    exif[0x0112] = 3  # stored upside down
    (tmp_path / "cat").mkdir()
    turned.save(tmp_path / "cat" / "0.png", exif=exif)
    Image.fromarray(red_left[..., 0]).convert("P").save(tmp_path / "cat" / "1.png")  # a palette, without colours
    inputs = read_image_folder(tmp_path, size=4).splits["train"]["inputs"]
    assert inputs.shape == (2, 3, 4, 4)
    sides = {tuple(image[:, 0, column].tolist()) for image in inputs for column in (0, 3)}
    assert sides == {(0, 0, 0), (200, 0, 0), (200, 200, 200)}
    coloured = next(image for image in inputs if image[1].max() == 0)
    assert coloured[0, :, 0].max() == 0 and coloured[0, :, 3].min() == 200  # its red side was turned to the right


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        ({"a.png": png(np.zeros((2, 2, 3), np.uint8))}, {}, "class folders"),
        ({"x/cat/a.png": b"", "y/cat/b.png": b""}, {}, "class folders"),
        ({"notes.txt": b""}, {}, "no images"),
        ({"cat/a.png": b"not a picture"}, {}, r"cat/a\.png"),
        ({"cat/a.png": png(photographs(side=32)["cat/0.png"])[:900]}, {}, r"cat/a\.png"),
        ({f"cat/{n}.png": png(np.zeros((n, 2, 3), np.uint8)) for n in (2, 3)}, {}, r"prepare\.size"),
        ({"trian/cat/a.png": b""}, {"folders": {"train": "train"}}, "did you mean"),
        ({"a/cat/a.png": b""}, {"folders": {"test": "a"}}, "no folder of 'train'"),
        (
            {f"{split}/{name}/a.png": png(np.zeros((2, 2, 3), np.uint8)) for split, name in (("a", "cat"), ("b", "cow"))},
            {"folders": {"train": "a", "test": "b"}},
            "cow",
        ),
        ({"a/cat/a.png": png(np.zeros((2, 2, 3), np.uint8))}, {"folders": {"train": "a", "test": "a"}, "test_fraction": 0.5}, "both"),
    ],
)
def test_what_is_no_set_of_images_is_refused_in_words(tmp_path, files, options, message):
    as_folder(tmp_path, files)
    with pytest.raises(UserError, match=message):
        read_image_folder(tmp_path, **options)


@pytest.mark.parametrize("content", [b"PK no zip", b""])
def test_what_is_no_archive_is_refused(tmp_path, content):
    (tmp_path / "images.zip").write_bytes(content)
    with pytest.raises(UserError, match=r"images\.zip"):
        read_image_folder(tmp_path, "images.zip")
    with pytest.raises(UserError, match=r"no other\.tar"):
        read_image_folder(tmp_path, "other.tar")


def test_a_folder_of_your_own_is_a_data_set_by_a_short_file(tmp_path):
    as_folder(tmp_path / "photos", {name: png(pixels) for name, pixels in photographs().items()})
    definition = parse_data(
        {
            "name": "pets",
            "title": "My pets",
            "licence": "mine",
            "homepage": "none",
            "fetch": {"path": str(tmp_path / "photos")},
            "prepare": {
                "_target_": "components.data.sources.image_folder.read_image_folder",
                "validation_fraction": 0.2,
                "test_fraction": 0.2,
                "size": 4,
            },
        }
    )
    fetch(definition.fetch, tmp_path / "raw")
    card = prepare(definition, tmp_path / "raw", tmp_path / "prepared")
    assert {name: split.rows for name, split in card.splits.items()} == {"train": 12, "validation": 4, "test": 4}
    assert card.classes() == CLASSES


def test_the_tiny_cifar10_is_in_the_archive_s_form(tmp_path):
    cifar10.write(tmp_path)
    data = read_image_folder(tmp_path, "cifar10.tar.xz", {"train": "train", "test": "test"}, validation_fraction=0.1)
    assert len(data.columns["targets"].classes) == 10 and data.columns["inputs"].shape == (3, 32, 32)
