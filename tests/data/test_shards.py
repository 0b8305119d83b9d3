"""Shards: every file under its limit, every row once, in order."""

from __future__ import annotations

import numpy as np
import pytest

from components.data.card import Column
from components.data.columns import Ragged
from components.data.shards import ShardWriter
from components.errors import UserError

KIB = 1 / 1024  # in MiB


def test_files_stay_under_the_limit_and_hold_all_rows_in_order(tmp_path):
    values = np.arange(1000 * 6, dtype=np.float32).reshape(1000, 2, 3)
    split = ShardWriter(tmp_path, {"inputs": Column("float32", (2, 3))}, shard_mib=4 * KIB).write("train", {"inputs": values})
    paths = [tmp_path / name for shard in split.shards for name in shard.files]
    assert all(path.stat().st_size <= 4096 for path in paths)
    # 24 bytes a row and 128 of header: 165 rows fit into 4,096 bytes, so 1,000 rows need 7 files.
    assert [shard.rows for shard in split.shards] == [165] * 6 + [10]
    np.testing.assert_array_equal(np.concatenate([np.load(path) for path in paths]), values)


def test_the_widest_column_decides_where_to_cut(tmp_path):
    columns = {"a": Column("uint8", (100,)), "b": Column("int64")}
    writer = ShardWriter(tmp_path, columns, shard_mib=2 * KIB)
    split = writer.write("test", {"a": np.zeros((50, 100), np.uint8), "b": np.arange(50)})
    assert [shard.rows for shard in split.shards] == [19, 19, 12]  # (2,048 - 128) // 100
    assert set(split.shards[0].files) == {"test-00000.a.npy", "test-00000.b.npy"}


def test_ragged_columns_are_cut_between_rows(tmp_path):
    lengths = np.random.default_rng(0).integers(0, 40, 200)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ragged = Ragged(np.arange(offsets[-1], dtype=np.int32), offsets)
    split = ShardWriter(tmp_path, {"tokens": Column("int32", ragged=True)}, shard_mib=KIB).write("train", {"tokens": ragged})
    assert len(split.shards) > 10
    rows = []
    for shard in split.shards:
        assert all((tmp_path / name).stat().st_size <= 1024 for name in shard.files)
        names = sorted(shard.files)  # ...tokens.npy, ...tokens.offsets.npy
        values, starts = np.load(tmp_path / names[0]), np.load(tmp_path / names[1])
        assert starts[0] == 0 and len(starts) == shard.rows + 1
        rows += np.split(values, starts[1:-1])
    assert len(rows) == 200
    np.testing.assert_array_equal(np.concatenate(rows), ragged.values)
    assert [len(row) for row in rows] == lengths.tolist()


def test_a_row_larger_than_the_limit_has_a_shard_of_its_own(tmp_path):
    split = ShardWriter(tmp_path, {"a": Column("uint8", (5000,))}, shard_mib=KIB).write("train", {"a": np.zeros((3, 5000), np.uint8)})
    assert [shard.rows for shard in split.shards] == [1, 1, 1]


def test_equal_data_give_equal_files_whatever_their_layout_in_memory(tmp_path):
    values = np.arange(60, dtype=np.int32).reshape(10, 2, 3)
    records = []
    for name, same in {"c": values, "fortran": np.asfortranarray(values), "view": np.repeat(values, 2, axis=0)[::2]}.items():
        (tmp_path / name).mkdir()
        split = ShardWriter(tmp_path / name, {"a": Column("int32", (2, 3))}, shard_mib=1).write("train", {"a": same})
        records.append(split.shards)
    assert records[0] == records[1] == records[2]


def test_what_cannot_be_stored_without_pickle_is_refused(tmp_path):
    with pytest.raises(UserError, match="column 'names' cannot be stored"):
        ShardWriter(tmp_path, {"names": Column("object")}, shard_mib=1)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": np.zeros((3, 2)), "b": np.zeros(4)}, "differ in length"),
        ({"a": np.zeros((3, 2))}, "other columns"),
        ({"a": np.zeros((3, 2), np.float32), "b": np.zeros(3)}, "column 'a' of split 'train' is not as described"),
        ({"a": np.zeros((3, 1)), "b": np.zeros(3)}, "column 'a' of split 'train' is not as described"),
    ],
)
def test_columns_that_do_not_fit_their_description_are_refused(tmp_path, columns, message):
    with pytest.raises(UserError, match=message):
        ShardWriter(tmp_path, {"a": Column("float64", (2,)), "b": Column("float64")}, shard_mib=1).write("train", columns)


@pytest.mark.parametrize("offsets", [[1, 3], [0, 2], [0, 3, 2, 3], []])
def test_offsets_that_do_not_cut_the_values_are_refused(offsets):
    with pytest.raises(ValueError, match="offsets must"):
        Ragged(np.zeros(3), np.array(offsets, dtype=np.int64))
