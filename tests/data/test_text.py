"""Texts as rows of tokens: nothing is lost, nothing crosses from one part into another, and the windows cover the text."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from components.data.draws import Draws
from components.data.sources.text import read_text
from components.data.windows import FirstWindow, RandomWindow
from components.errors import UserError

TEXT = "The quick brown fox jumps over the lazy dog.\nÉtait-ce  vrai? -- Oui! " * 8


def read(tmp_path, text=TEXT, unit="char", block=5, validation=0.2, test=0.1, **options):
    (tmp_path / "input.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_text(tmp_path, "input.txt", unit, block, validation, test, **options)


def joined(data, split, block=5):
    """The text of a split: the first block of every row, then the rest of the last one."""
    names, rows = data.columns["tokens"].classes, data.splits[split]["tokens"]
    return "".join(names[token] for token in [*rows[:, :block].ravel(), *rows[-1, block:]])


def test_characters_come_back_and_the_parts_follow_one_another(tmp_path):
    data = read(tmp_path)
    ends = [0, int(len(TEXT) * 0.7), int(len(TEXT) * 0.9), len(TEXT)]
    for split, start, end in zip(("train", "validation", "test"), ends, ends[1:], strict=False):
        part = joined(data, split)
        assert part == TEXT[start : start + len(part)]
        assert 0 <= end - start - len(part) < 5  # a tail that fills no block
    assert data.columns["tokens"].classes == tuple(sorted(set(TEXT)))
    assert data.splits["train"]["tokens"].dtype == np.uint8


def test_rows_start_every_block_and_overlap_by_one(tmp_path):
    rows = read(tmp_path).splits["train"]["tokens"]
    assert rows.shape[1] == 10
    np.testing.assert_array_equal(rows[1:, :5], rows[:-1, 5:])


@pytest.mark.parametrize("unit", ["word", "byte"])
def test_words_and_bytes_lose_nothing(tmp_path, unit):
    data = read(tmp_path, unit=unit)
    part = joined(data, "train")
    if unit == "byte":
        assert "\\xc3\\x89tait" in part  # É in UTF-8
        part = part.replace("\\xc3\\x89", "É")
    assert TEXT.startswith(part) and len(part) > 0.6 * len(TEXT)
    if unit == "word":
        assert {" quick", "\n", " --", ".", "Était", "-"} <= set(data.columns["tokens"].classes)


def test_rare_tokens_are_unknown_and_so_are_those_that_training_lacks(tmp_path):
    data = read(tmp_path, "abc" * 20 + "z" + "abc" * 8 + "y" + "abc" * 8, minimum_count=2)
    assert data.columns["tokens"].classes == ("a", "b", "c", "<unk>")
    assert (data.splits["train"]["tokens"] == 3).any() and (data.splits["validation"]["tokens"] == 3).any()


def test_the_smallest_integer_type_that_holds_the_vocabulary(tmp_path):
    text = "".join(chr(200 + i) for i in range(300)) * 4
    data = read(tmp_path, text)
    assert data.columns["tokens"].dtype == "int16" and data.splits["train"]["tokens"].max() == 299


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("ab" * 40 + "ax" * 5, {}, "come in validation or test alone"),
        ("ab" * 40, {"block": 9}, "too short"),
        (b"\xff\xfe" * 40, {}, "no UTF-8"),
    ],
    ids=["new", "short", "latin"],
)
def test_what_cannot_be_read_is_refused(tmp_path, text, options, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, text, **options)


def test_a_missing_file_is_named(tmp_path):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(UserError, match="no such file") as caught:
        read_text(tmp_path, "input.txt", "char", 5, 0.1, 0.1)
    assert "mine.txt" in str(caught.value)


def rows_of(text_length, block):
    text = torch.arange(text_length)
    return {"tokens": text.unfold(0, 2 * block, block), "sample_id": torch.arange((text_length - 2 * block) // block + 1)}


def test_first_windows_predict_each_token_once():
    batch = rows_of(43, block=4)
    found = FirstWindow(4)(batch, Draws(0, 0, batch["sample_id"]))["tokens"]
    assert found[:, 1:].flatten().tolist() == list(range(1, 4 * len(found) + 1))
    again = FirstWindow(4)({"tokens": found}, Draws(0, 0, batch["sample_id"]))["tokens"]
    assert torch.equal(again, found)


def test_random_windows_lie_anywhere_and_follow_the_text():
    batch = rows_of(4000, block=4)
    found = torch.cat([RandomWindow(4)(batch, Draws(0, epoch, batch["sample_id"]))["tokens"] for epoch in range(4)])
    assert (found.diff(dim=1) == 1).all() and found.shape[1] == 5
    offsets = (found[:, 0] % 4).bincount(minlength=4)  # the row's place is a multiple of 4
    expected = len(found) / 4
    assert ((offsets - expected).abs() < 4 * expected**0.5).all()  # uniform: one of 4 places each
    one = RandomWindow(4)({k: v[7:8] for k, v in batch.items()}, Draws(0, 0, batch["sample_id"][7:8]))["tokens"]
    assert torch.equal(one[0], found[7])  # whoever carries it


def test_tiny_shakespeare_is_cut_as_nano_gpt_cuts_it(mirror):
    """nanoGPT, data/shakespeare_char/prepare.py: 1,115,394 characters, 65 kinds, 1,003,854 of them for training and 111,540 for validation."""
    data = read_text(mirror, "tinyshakespeare.txt", "char", 64, 0.05, 0.05)
    assert "".join(data.columns["tokens"].classes) == "\n !$&',-.3:;?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    text = (mirror / "tinyshakespeare.txt").read_text()
    assert len(text) == 1_115_394
    parts = {split: joined(data, split, 64) for split in data.splits}
    starts = {"train": 0, "validation": 1_003_854, "test": 1_003_854 + 55_770}
    for split, part in parts.items():
        assert text[starts[split] :].startswith(part) and len(part) > 0.998 * {"train": 1_003_854}.get(split, 55_770)
