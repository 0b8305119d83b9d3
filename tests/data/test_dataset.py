"""Reading shards: equal to plain numpy indexing, and damage is told by the shard's name."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from components.data.card import Card, Column, load_card, write_card
from components.data.columns import Ragged
from components.data.dataset import ShardDataset
from components.data.shards import ShardWriter
from components.errors import UserError


@pytest.fixture(params=[0.001, 64], ids=["many shards", "one shard"])
def stored(request, tmp_path):
    """A split with a dense and a ragged column, and the rows it must give."""
    rng = np.random.default_rng(1)
    dense = rng.normal(size=(300, 3)).astype(np.float32)
    rows = [rng.integers(0, 9, (length, 2)) for length in rng.integers(0, 6, 300)]
    ragged = Ragged(np.concatenate(rows), np.concatenate([[0], np.cumsum([len(row) for row in rows])]))
    columns = {"inputs": Column("float32", (3,)), "boxes": Column("int64", (2,), ragged=True)}
    split = ShardWriter(tmp_path, columns, shard_mib=request.param).write("train", {"inputs": dense, "boxes": ragged})
    assert (len(split.shards) > 5) == (request.param < 1)
    write_card(tmp_path, Card("x", "x", "x", "x", {}, columns, {"train": split}, {}))
    return ShardDataset(tmp_path, "train"), dense, rows


@pytest.mark.parametrize("indices", [[0], [299, 0, 150, 150, 7], list(range(300)), []])
def test_fetch_gives_the_asked_rows_in_the_asked_order(stored, indices):
    dataset, dense, rows = stored
    wanted = np.array(indices, dtype=np.int64)
    batch = dataset.fetch(wanted)
    assert dataset.rows == len(dataset) == 300
    assert set(batch) == {"inputs", "boxes", "boxes.offsets", "sample_id"}
    assert torch.equal(batch["inputs"], torch.from_numpy(dense[wanted]))
    assert batch["sample_id"].dtype == torch.int64 and batch["sample_id"].tolist() == indices
    assert batch["boxes.offsets"].tolist() == [0, *np.cumsum([len(rows[i]) for i in indices]).tolist()]
    assert batch["boxes"].tolist() == [value for i in indices for value in rows[i].tolist()]


def test_blocks_cover_the_split_once(stored):
    dataset, dense, _ = stored
    blocks = [block["inputs"] for block in dataset.blocks(77)]
    assert [len(block) for block in blocks] == [77, 77, 77, 69]
    np.testing.assert_array_equal(np.concatenate(blocks), dense)


@pytest.mark.parametrize("index", [-1, 300])
def test_a_row_outside_the_split_is_an_error(stored, index):
    with pytest.raises(IndexError, match="300 rows"):
        stored[0].fetch(np.array([index]))


def test_a_batch_may_be_changed_without_changing_the_data(stored):
    dataset, dense, _ = stored
    dataset.fetch(np.arange(10))["inputs"].zero_()
    assert torch.equal(dataset.fetch(np.arange(10))["inputs"], torch.from_numpy(dense[:10]))


def test_unknown_split_names_the_known_ones(write, splits):
    directory, _ = write(splits)
    with pytest.raises(UserError, match="no split 'dev'") as raised:
        ShardDataset(directory, "dev")
    assert raised.value.expected == ["test", "train", "validation"]


@pytest.fixture(params=[0.001, 64], ids=["many shards", "one shard"])
def two_splits(request, tmp_path):
    """A data set of two splits with a dense and a ragged column, and what they hold end to end."""
    rng = np.random.default_rng(2)
    columns = {"inputs": Column("float32", (3,)), "boxes": Column("int64", (2,), ragged=True)}
    lengths = {"train": rng.integers(0, 6, 200), "validation": rng.integers(0, 6, 70)}
    content = {
        name: {"inputs": rng.normal(size=(len(n), 3)).astype(np.float32), "boxes": Ragged(rng.integers(0, 9, (n.sum(), 2)), np.r_[0, n.cumsum()])}
        for name, n in lengths.items()
    }
    writer = ShardWriter(tmp_path, columns, shard_mib=request.param)
    write_card(tmp_path, Card("x", "x", "x", "x", {}, columns, {name: writer.write(name, split) for name, split in content.items()}, {}))
    dense = np.concatenate([split["inputs"] for split in content.values()])
    values = np.concatenate([split["boxes"].values for split in content.values()])
    return tmp_path, dense, np.split(values, np.concatenate(list(lengths.values())).cumsum()[:-1])


def test_several_splits_are_one_with_unique_row_numbers(two_splits):
    directory, dense, boxes = two_splits
    dataset = ShardDataset(directory, "train", "validation")
    assert (dataset.rows, dataset.split) == (270, "train+validation")
    wanted = np.array([269, 0, 199, 200, 5, 200])
    batch = dataset.fetch(wanted)
    assert batch["sample_id"].tolist() == wanted.tolist()
    np.testing.assert_array_equal(batch["inputs"], dense[wanted])
    for place, row in enumerate(wanted):
        start, stop = batch["boxes.offsets"][place : place + 2]
        np.testing.assert_array_equal(batch["boxes"][start:stop], boxes[row])


def test_several_splits_come_in_the_order_in_which_they_are_named(two_splits):
    directory, dense, _ = two_splits
    turned = ShardDataset(directory, "validation", "train").fetch(np.arange(270))["inputs"]
    np.testing.assert_array_equal(turned, np.concatenate([dense[200:], dense[:200]]))


def test_every_one_of_several_splits_must_be_there(two_splits):
    with pytest.raises(UserError, match="no split 'test'"):
        ShardDataset(two_splits[0], "train", "test")


def test_a_data_set_travels_as_its_path(two_splits, monkeypatch):
    directory, dense, _ = two_splits
    monkeypatch.chdir(directory.parent)
    sent = pickle.dumps(ShardDataset(Path(directory.name), "train", "validation"))
    assert len(sent) < 500  # the rows alone are 3 KB
    monkeypatch.chdir("/")  # the other process may stand elsewhere
    np.testing.assert_array_equal(pickle.loads(sent).fetch(np.arange(270))["inputs"], dense)


def test_what_was_sent_is_not_opened_once_other_data_have_taken_its_place(write, two_splits):
    directory, _, _ = two_splits
    sent = pickle.dumps(ShardDataset(directory, "train"))
    card = load_card(directory)
    write_card(directory, replace(card, title="prepared anew"))
    with pytest.raises(UserError, match="another version") as raised:
        pickle.loads(sent)
    assert raised.value.expected == card.content_sha256 != raised.value.received


NAME = "train-00000.inputs.npy"


def test_a_truncated_shard_is_named(write, splits):
    directory, _ = write(splits)
    content = (directory / NAME).read_bytes()
    (directory / NAME).write_bytes(content[:-1])
    with pytest.raises(UserError, match=f"shard {NAME} is corrupted") as raised:
        ShardDataset(directory, "train")
    assert (raised.value.received, raised.value.expected) == (f"{len(content) - 1} bytes", f"{len(content)} bytes")


def test_a_missing_shard_is_named(write, splits):
    directory, _ = write(splits)
    (directory / NAME).unlink()
    with pytest.raises(UserError, match=f"shard {NAME} is missing"):
        ShardDataset(directory, "train")


@pytest.mark.parametrize("header", [b"\0" * 128, b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (60,), }"])
def test_a_shard_of_the_right_size_with_a_bad_header_is_named(write, splits, header):
    directory, _ = write(splits)
    content = (directory / NAME).read_bytes()
    (directory / NAME).write_bytes(header.ljust(127).ljust(128, b"\n")[:128] + content[128:])
    with pytest.raises(UserError, match=f"shard {NAME} is corrupted"):
        ShardDataset(directory, "train")


def test_a_header_that_tells_another_shape_is_refused(write, splits):
    directory, _ = write(splits)
    content = (directory / NAME).read_bytes()
    (directory / NAME).write_bytes(content.replace(b"(60, 1, 4, 5)", b"(60, 1, 5, 4)", 1))
    with pytest.raises(UserError, match="corrupted"):
        ShardDataset(directory, "train")


def test_one_flipped_bit_is_found_by_verify(write, splits):
    directory, _ = write(splits)
    content = bytearray((directory / NAME).read_bytes())
    content[-1] ^= 1
    (directory / NAME).write_bytes(content)
    dataset = ShardDataset(directory, "test")
    with pytest.raises(UserError, match=f"shard {NAME} is corrupted"):
        dataset.verify()


def test_verify_is_silent_on_whole_data(write, splits):
    directory, _ = write(splits)
    ShardDataset(directory, "train").verify()
