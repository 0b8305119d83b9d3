"""Checks: sound data pass, each planted fault stops with its name, a warning does not stop."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from components.data.card import write_card
from components.data.checks import check
from components.errors import UserError
from components.spec.schema import CheckSpec


def failed(result):
    return {(finding["name"], finding["severity"]) for finding in result["checks"] if not finding["passed"]}


def test_sound_data_pass_every_check(write, splits, tmp_path):
    directory, card = write(splits)
    result = check(directory, CheckSpec(), tmp_path)
    assert failed(result) == set() and len(result["checks"]) > 10
    assert result["data"] == card.content_sha256
    assert result["splits"] == {"train": 60, "validation": 30, "test": 30}
    assert result["classes"] == {"targets": {"train": [20] * 3, "validation": [10] * 3, "test": [10] * 3}}
    assert json.loads((tmp_path / "check.json").read_text()) == result


def few_rows(splits):
    splits["test"] = {name: column[:9] for name, column in splits["test"].items()}


def no_test_split(splits):
    del splits["test"]


def label_too_high(splits):
    splits["validation"]["targets"][4] = 3


def label_below_zero(splits):
    splits["train"]["targets"][4] = -1


def class_never_trained(splits):
    splits["train"]["targets"][splits["train"]["targets"] == 2] = 0


def imbalance(splits):
    splits["train"]["targets"][:] = [0] * 44 + [1] * 12 + [2] * 4


def other_units_in_test(splits):
    for split in splits.values():
        split["inputs"] = split["inputs"].astype(np.float32)
    splits["test"]["inputs"] /= 255


def not_finite_in_test(splits):
    for split in splits.values():
        split["inputs"] = split["inputs"].astype(np.float32)
    splits["test"]["inputs"][0, 0, 1, 1] = np.inf


def all_training_values_equal(splits):
    splits["train"]["inputs"][:] = 9


def blank_images(splits):
    splits["train"]["inputs"][:3] = np.array([0, 1, 2], dtype=np.uint8)[:, None, None, None]


def test_row_in_training(splits):
    splits["test"]["inputs"][7] = splits["train"]["inputs"][11]


def test_row_in_validation(splits):
    splits["test"]["inputs"][7] = splits["validation"]["inputs"][11]


test_row_in_training.__test__ = test_row_in_validation.__test__ = False  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("plant", "message"),
    [
        (few_rows, "counts: train 60, validation 30, test 9; each of"),
        (no_test_split, "counts: train 60, validation 30; each of"),
        (label_too_high, r"label range \(targets\): expected 0..2, found 0..3 in validation"),
        (label_below_zero, r"label range \(targets\): expected 0..2, found -1..2 in train"),
        (class_never_trained, r"class coverage \(targets, train\): 1 of 3 classes never occur in train: owl"),
        (imbalance, r"label balance \(targets\): 'cat' has 44 training rows, 'owl' 4: ratio 11.00, limit 10"),
        (other_units_in_test, r"scale \(inputs\): .*; test not scaled as train"),
        (not_finite_in_test, "finite: 1 values in test are NaN or infinite"),
        (all_training_values_equal, r"scale \(inputs\): all training values are 9"),
        (blank_images, r"constant images \(train\): 3 of 60 images"),
        (test_row_in_training, r"leakage \(train to test\): 1 of 30 rows of test also stand in train \(3.33%"),
        (test_row_in_validation, r"leakage \(validation to test\): 1 of 30 rows"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_planted_fault_stops_with_its_name_and_numbers(write, splits, tmp_path, plant, message):
    plant(splits)
    directory, _ = write(splits)
    with pytest.raises(UserError, match=message):
        check(directory, CheckSpec(), tmp_path)
    assert failed(json.loads((tmp_path / "check.json").read_text())) and (tmp_path / "sheet.png").is_file()  # to look into


def test_statistics_that_are_not_the_training_splits_are_a_fault(write, splits, tmp_path):
    directory, card = write(splits)
    other = dataclasses.replace(card.statistics["inputs"], mean=(card.statistics["inputs"].mean[0] * 1.001,))
    write_card(directory, dataclasses.replace(card, statistics={"inputs": other}))
    with pytest.raises(UserError, match=r"normalisation \(inputs\): card: mean .*; training split: mean"):
        check(directory, CheckSpec(), tmp_path)


def test_a_card_without_statistics_is_a_fault(write, splits, tmp_path):
    directory, card = write(splits)
    write_card(directory, dataclasses.replace(card, statistics={}))
    with pytest.raises(UserError, match=r"normalisation \(inputs\): card: no statistics"):
        check(directory, CheckSpec(), tmp_path)


def test_all_faults_are_told_at_once(write, splits, tmp_path):
    label_too_high(splits)
    test_row_in_training(splits)
    imbalance(splits)
    directory, _ = write(splits)
    with pytest.raises(UserError, match="failed 3 of") as raised:
        check(directory, CheckSpec(), tmp_path)
    assert all(name in str(raised.value) for name in ("label range", "leakage", "label balance"))


def test_a_limit_can_be_raised(write, splits, tmp_path):
    test_row_in_training(splits)
    imbalance(splits)
    check(write(splits)[0], CheckSpec(max_leak_fraction=0.04, max_imbalance=11), tmp_path)


def test_duplicates_inside_a_split_only_warn(write, splits, tmp_path):
    splits["train"]["inputs"][5] = splits["train"]["inputs"][6]
    assert failed(check(write(splits)[0], CheckSpec(), tmp_path)) == {("duplicates (train)", "warning")}


def test_a_class_that_only_the_test_split_lacks_warns(write, splits, tmp_path):
    splits["test"]["targets"][splits["test"]["targets"] == 1] = 0
    assert failed(check(write(splits)[0], CheckSpec(), tmp_path)) == {("class coverage (targets, test)", "warning")}


def test_a_corrupted_shard_is_named_before_anything_is_written(write, splits, tmp_path):
    directory, _ = write(splits)
    path = directory / "test-00000.targets.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(UserError, match=r"shard test-00000\.targets\.npy is corrupted"):
        check(directory, CheckSpec(), tmp_path)
    assert not (tmp_path / "check.json").exists()


def test_the_sheet_shows_the_samples_in_the_order_of_their_classes(write, splits, tmp_path):
    shades = np.array([0, 120, 240], dtype=np.uint8)
    noise = splits["train"]["inputs"] % 10
    splits["train"]["inputs"] = noise + shades[splits["train"]["targets"]][:, None, None, None]
    directory, _ = write(splits)
    check(directory, CheckSpec(sheet_rows=2, sheet_columns=3), tmp_path)
    sheet = np.asarray(Image.open(tmp_path / "sheet.png").convert("L")).astype(int)
    # Cells of 96 pixels, 108 apart, from (24, 74): one class a column, dark to light.
    means = [[sheet[74 + r * 130 :][:96, 24 + c * 108 :][:, :96].mean() for c in range(3)] for r in range(2)]
    for row in means:
        assert row[0] < 20 and 110 < row[1] < 150 and row[2] > 235


def test_a_set_without_images_gets_a_sheet_too(write, splits, tmp_path):
    for split in splits.values():
        split["inputs"] = split["inputs"].reshape(-1, 20)
    check(write(splits)[0], CheckSpec(), tmp_path)
    assert Image.open(tmp_path / "sheet.png").size[0] >= 720
