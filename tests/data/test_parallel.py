"""The reader of translated sentences: what it makes of text, and text of that."""

from __future__ import annotations

import numpy as np
import pytest

from components.data.columns import Ragged, require_columns
from components.data.sources.parallel import BOS, EOS, SPECIAL, UNKNOWN, clean, pieces, read_parallel, text
from components.errors import UserError
from tests.systems.tiny.multi30k import write


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    write(folder)
    return folder


def rows(column: Ragged) -> list[list[int]]:
    return [part.tolist() for part in np.split(column.values, column.offsets[1:-1])]


@pytest.mark.parametrize(("tokens", "size"), [("subword", 100), ("word", 20)])
def test_columns_are_as_described(raw, tokens, size):
    data = read_parallel(raw, "de", "en", tokens, size, max_tokens=16)
    assert [require_columns(data.columns, columns, split) for split, columns in data.splits.items()] == [24, 12, 12]
    for name in ("source", "target"):
        classes = data.columns[name].classes
        assert classes[:4] == SPECIAL and len(set(classes)) == len(classes) == size
    for columns in data.splits.values():
        assert all(row[-1] == EOS and EOS not in row[:-1] and BOS not in row for row in rows(columns["source"]))
        assert all(row[0] == BOS and row[-1] == EOS for row in rows(columns["target"]))


def test_subwords_give_the_text_back(raw):
    data = read_parallel(raw, "de", "en", "subword", 100, max_tokens=40)
    assert data.columns["source"].classes == data.columns["target"].classes
    for split, stem in (("train", "train"), ("test", "test_2016_flickr")):
        lines = (raw / f"{stem}.en").read_text(encoding="utf-8").splitlines()
        found = data.splits[split]
        assert [text(row, data.columns["target"].classes) for row in rows(found["target"])] == [clean(line) for line in lines]
        assert [bytes(row).decode() for row in rows(found["reference"])] == lines


def test_words_are_the_most_frequent_ones_and_the_rest_is_unknown(raw):
    data = read_parallel(raw, "de", "en", "word", 8, max_tokens=16)
    vocabulary = data.columns["target"].classes
    assert vocabulary[4:6] == ("▁.", "▁a")  # 24 each, before "the", and in the order of the alphabet
    assert "<unk>" in text(rows(data.splits["train"]["target"])[0], vocabulary)
    assert UNKNOWN in data.splits["train"]["source"].values


def test_words_keep_hyphens_and_apostrophes(tmp_path):
    for stem in ("train", "val", "test_2016_flickr"):
        (tmp_path / f"{stem}.de").write_text("Ein T-Shirt,  grün!\n", encoding="utf-8")
        (tmp_path / f"{stem}.en").write_text("The man's T-shirt.\n", encoding="utf-8")
    data = read_parallel(tmp_path, "en", "de", "word", 8, max_tokens=16)
    assert sorted(data.columns["source"].classes[4:]) == ["▁.", "▁man's", "▁t-shirt", "▁the"]
    assert pieces(rows(data.splits["test"]["source"])[0], data.columns["source"].classes) == ["▁the", "▁man's", "▁t-shirt", "▁."]
    assert (
        text(rows(data.splits["train"]["target"])[0], data.columns["target"].classes) == "ein <unk> , grün !"
    )  # no room for the last in the alphabet


def test_long_sentences_are_left_out_of_training_and_cut_elsewhere(raw):
    whole = read_parallel(raw, "de", "en", "subword", 100, max_tokens=40)
    limit = 12
    cut = read_parallel(raw, "de", "en", "subword", 100, max_tokens=limit)
    pairs = zip(rows(whole.splits["train"]["source"]), rows(whole.splits["train"]["target"]), strict=True)
    short = [source for source, target in pairs if max(len(source), len(target) - 1) <= limit]
    assert rows(cut.splits["train"]["source"]) == short and 0 < len(short) < 24
    assert len(cut.splits["test"]["reference"]) == 12
    assert max(map(len, rows(cut.splits["test"]["source"]))) == limit and max(map(len, rows(cut.splits["test"]["target"]))) == limit + 1
    assert all(row[-1] == EOS for row in rows(cut.splits["test"]["target"]))


def test_what_cannot_be_made_is_refused(raw, tmp_path):
    with pytest.raises(UserError, match="at most"):
        read_parallel(raw, "de", "en", "word", 500, max_tokens=16)
    with pytest.raises(UserError, match="at most"):
        read_parallel(raw, "de", "en", "subword", 5_000, max_tokens=16)
    write(tmp_path)
    (tmp_path / "val.en").write_text("one line\n", encoding="utf-8")
    with pytest.raises(UserError, match="12 and 1 lines"):
        read_parallel(tmp_path, "de", "en", "word", 20, max_tokens=16)
