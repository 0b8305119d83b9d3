"""card.json: written and read back equal, its hash is over everything, and a change is found."""

from __future__ import annotations

import hashlib
import json

import pytest

from components.data.card import load_card
from components.errors import UserError


def test_the_card_comes_back_equal(write, splits):
    directory, card = write(splits)
    assert load_card(directory) == card


def test_the_version_is_the_sha256_of_all_other_fields(write, splits):
    directory, card = write(splits)
    plain = json.loads((directory / "card.json").read_text())
    stated = plain.pop("content_sha256")
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    assert stated == card.content_sha256 == hashlib.sha256(text.encode()).hexdigest()


def test_one_changed_pixel_changes_the_version(write, splits):
    _, before = write(splits, "before")
    splits["test"]["inputs"][0, 0, 0, 0] ^= 1
    _, after = write(splits, "after")
    assert before.content_sha256 != after.content_sha256


def test_a_changed_card_is_refused(write, splits):
    directory, _ = write(splits)
    path = directory / "card.json"
    path.write_text(path.read_text().replace('"rows": 60', '"rows": 61', 1))
    with pytest.raises(UserError, match="changed"):
        load_card(directory)


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "cannot be read"), ("[]", "cannot be read"), ('{"content_sha256": "x", "format": 2}', "another format")],
)
def test_a_card_that_is_none_is_refused(tmp_path, text, message):
    (tmp_path / "card.json").write_text(text)
    with pytest.raises(UserError, match=message):
        load_card(tmp_path)


def test_a_directory_without_a_card_is_no_data_set(tmp_path):
    with pytest.raises(UserError, match=r"card\.json is missing"):
        load_card(tmp_path)


def test_class_names(write, splits):
    _, card = write(splits)
    assert card.classes() == ("cat", "dog", "owl")
    with pytest.raises(UserError, match="no classes in column 'inputs'"):
        card.classes("inputs")
