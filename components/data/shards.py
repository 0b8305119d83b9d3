"""Writing columns into shards: one .npy file a column a shard (docs/architecture.md section 2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from components.data.card import Column, FileRecord, Shard, Split
from components.data.columns import Array, Columns, Ragged, require_columns
from components.errors import UserError
from components.files import sha256_file

_HEADER_BYTES = 128  # of a .npy file of ours: one alignment block holds the magic and a short dtype and shape
_STORABLE_KINDS = "biuf"  # bool, signed, unsigned, float: what torch.from_numpy takes and needs no pickle


class ShardWriter:
    """Cut splits into shards whose files are at most `shard_mib` each.

    A row that is larger than that alone gets a shard of its own.

    Args:
        directory: where the files go; give it a temporary one and publish it as a whole (publish.atomic_directory).
        columns: the description that every split must fit.
        shard_mib: the limit of one file, in MiB.
    """

    def __init__(self, directory: Path, columns: Mapping[str, Column], shard_mib: float) -> None:
        self.directory, self.columns = directory, columns
        self._limit_bytes = int(shard_mib * 2**20) - _HEADER_BYTES
        for name, column in columns.items():
            if np.dtype(column.dtype).kind not in _STORABLE_KINDS:
                raise UserError(f"column '{name}' cannot be stored", received=column.dtype, expected="a bool, integer or float dtype")

    def write(self, split: str, columns: Columns) -> Split:
        """Write one split's shards and return their records.

        Raises:
            UserError: the columns do not fit their description.
        """
        rows = require_columns(self.columns, columns, split)
        shards = tuple(
            self._write_shard(f"{split}-{number:05d}", columns, start, stop) for number, (start, stop) in enumerate(self._cuts(columns, rows))
        )
        return Split(rows, shards)

    def _cuts(self, columns: Columns, rows: int) -> Iterator[tuple[int, int]]:
        start = 0
        while start < rows:
            stop = min(_last_row(column, start, self._limit_bytes) for column in columns.values())
            stop = max(start + 1, min(stop, rows))
            yield start, stop
            start = stop

    def _write_shard(self, stem: str, columns: Columns, start: int, stop: int) -> Shard:
        files: dict[str, FileRecord] = {}
        for name, column in columns.items():
            if isinstance(column, Ragged):
                offsets = column.offsets[start : stop + 1]
                self._save(f"{stem}.{name}.npy", column.values[offsets[0] : offsets[-1]], files)
                self._save(f"{stem}.{name}.offsets.npy", offsets - offsets[0], files)
            else:
                self._save(f"{stem}.{name}.npy", column[start:stop], files)
        return Shard(stop - start, files)

    def _save(self, name: str, array: Array, files: dict[str, FileRecord]) -> None:
        # Little-endian and C order, so that equal data give equal bytes on every machine.
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        path = self.directory / name
        np.save(path, little, allow_pickle=False)
        files[name] = FileRecord(sha256_file(path), path.stat().st_size)


def _last_row(column: Array | Ragged, start: int, limit_bytes: int) -> int:
    """Return one past the last row that a file which starts at row `start` can take."""
    if isinstance(column, Ragged):
        value_bytes = max(1, column.values[:0].dtype.itemsize * int(np.prod(column.values.shape[1:])))
        by_values = int(np.searchsorted(column.offsets, column.offsets[start] + limit_bytes // value_bytes, side="right")) - 1
        by_offsets = start + limit_bytes // 8 - 1  # rows + 1 offsets of 8 bytes
        return min(by_values, by_offsets)
    row_bytes = max(1, column.dtype.itemsize * int(np.prod(column.shape[1:])))
    return start + limit_bytes // row_bytes
