"""Readers: bytes on disk to columns, against a writer of our own and against scikit-learn."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from components.data.fetch import fetch
from components.data.params import read_yaml
from components.data.prepare import prepare
from components.data.sources.digits import read_digits
from components.data.sources.idx import parse_idx, read_idx
from components.errors import UserError
from components.spec.parse import parse_data, to_plain

ROOT = Path(__file__).parents[2]
NAMES = [str(i) for i in range(10)]


def idx_bytes(array):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def idx_folder(tmp_path):
    rng = np.random.default_rng(0)
    for part, rows in (("train", 100), ("t10k", 20)):
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(idx_bytes(rng.integers(0, 256, (rows, 3, 2), dtype=np.uint8)))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx_bytes(np.arange(rows, dtype=np.uint8) % 10))
    return tmp_path


def test_idx_holds_big_endian_sizes_and_c_ordered_bytes(tmp_path):
    (tmp_path / "x").write_bytes(bytes([0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6]))
    assert parse_idx(tmp_path / "x", 3).tolist() == [[[1, 2, 3], [4, 5, 6]]]


def test_validation_is_a_stratified_part_of_the_training_rows(idx_folder):
    data = read_idx(idx_folder, NAMES, validation_rows=30, seed=0)
    images = parse_idx(idx_folder / "train-images-idx3-ubyte", 3)
    assert {name: split["inputs"].shape for name, split in data.splits.items()} == {
        "train": (70, 1, 3, 2), "validation": (30, 1, 3, 2), "test": (20, 1, 3, 2),
    }  # fmt: skip
    assert np.bincount(data.splits["validation"]["targets"]).tolist() == [3] * 10
    drawn = {row.tobytes() for name in ("train", "validation") for row in data.splits[name]["inputs"]}
    assert drawn == {row.tobytes() for row in images}
    np.testing.assert_array_equal(data.splits["test"]["targets"], np.arange(20) % 10)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda b: b[:-1], "another length"),
        (lambda b: b + b"\0", "another length"),
        (lambda b: b[:2] + b"\x0d" + b[3:], "no IDX file"),
        (lambda b: b[:3], "no IDX file"),
        (lambda b: idx_bytes(np.zeros((99, 3, 2), np.uint8)), "99 images"),
    ],
    ids=["short", "long", "floats", "no header", "fewer images"],
)
def test_a_damaged_idx_file_is_refused(idx_folder, damage, message):
    path = idx_folder / "train-images-idx3-ubyte"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=message):
        read_idx(idx_folder, NAMES, validation_rows=30, seed=0)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """The digits as the stages make them: (definition, raw folder)."""
    definition = parse_data(read_yaml(ROOT / "conf" / "data" / "digits.yaml"))
    raw = tmp_path_factory.mktemp("digits") / "raw"
    fetch(definition.fetch, raw)
    return definition, raw


def test_digits_are_scikit_learns_every_row_once(digits):
    from sklearn.datasets import load_digits

    theirs = load_digits()
    data = read_digits(digits[1], NAMES, test_fraction=0.2, validation_fraction=0.1, seed=0)
    assert {name: len(split["targets"]) for name, split in data.splits.items()} == {"train": 1258, "validation": 180, "test": 359}

    def rows(images, labels):
        return sorted((image.astype(np.uint8).tobytes(), int(label)) for image, label in zip(images, labels, strict=True))

    ours = [row for split in data.splits.values() for row in rows(split["inputs"][:, 0], split["targets"])]
    assert sorted(ours) == rows(theirs.images, theirs.target)


@pytest.mark.parametrize("text", ["1,2,3\n", "0," * 64 + "x\n", "17," * 64 + "1\n"])
def test_a_table_that_is_not_the_digits_is_refused(tmp_path, text):
    (tmp_path / "digits.csv").write_text(text)
    with pytest.raises(UserError, match=r"digits\.csv"):
        read_digits(tmp_path, NAMES, test_fraction=0.2, validation_fraction=0.1, seed=0)


def test_preparing_needs_neither_torch_nor_scikit_learn(digits, tmp_path):
    definition, raw = digits
    code = (
        "import sys; from pathlib import Path; from components.data.stage import run_stage\n"
        f"run_stage('fetch', 'digits', Path({str(tmp_path)!r})); run_stage('prepare', 'digits', Path({str(tmp_path)!r}))\n"
        "print([m for m in ('torch', 'sklearn', 'PIL') if m in sys.modules])"
    )
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"data": {"digits": to_plain(definition)}}))
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.stdout.strip() == "[]", done.stderr
    assert prepare(definition, raw, tmp_path / "again").content_sha256[:12] in (tmp_path / "data/prepared/digits/card.json").read_text()
