"""Reading prepared data: memory-mapped shards, fetched by index array."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from components.data.card import Column, Split, load_card, require_contents, require_sizes
from components.data.columns import Array, Ragged
from components.errors import UserError

Indices = npt.NDArray[np.int64]
_SPARE_FILES = 256  # that a process opens beside shards


class ShardDataset:
    """One split of a prepared data set, or several end to end.

    Opening it compares every file's size and header with the card; `verify` also hashes the contents. Sent to another process, it
    is opened there: the path travels, not the rows.

    Args:
        directory: that holds card.json.
        split: a name in the card.
        others: more names; their rows follow, numbered on, so that `sample_id` stays unique (for a refit on all data).

    Raises:
        UserError: no data set, no such split, a shard that is missing or corrupted (its name is told), or more of them than may be open.
    """

    def __init__(self, directory: Path, split: str, *others: str) -> None:
        self.directory, self.card, self._splits = directory, load_card(directory), (split, *others)
        self.split = "+".join(self._splits)
        shards = [(f"{name}-{number:05d}", shard) for name in self._splits for number, shard in enumerate(self._record(name).shards)]
        for _, shard in shards:
            require_sizes(directory, shard.files)
        _make_room(sum(len(shard.files) for _, shard in shards))
        self._starts = np.cumsum([0, *[shard.rows for _, shard in shards]])
        self.rows = int(self._starts[-1])
        self._shards = [self._open(stem, shard.rows) for stem, shard in shards]
        self._whole = self._as_tensors()

    def __reduce__(self) -> tuple[Callable[..., ShardDataset], tuple[Path | str, ...]]:
        return _open_again, (self.card.content_sha256, self.directory.absolute(), *self._splits)

    def _record(self, split: str) -> Split:
        if split not in self.card.splits:
            raise UserError(f"data set '{self.card.name}' has no split '{split}'", received=split, expected=sorted(self.card.splits))
        return self.card.splits[split]

    def _as_tensors(self) -> dict[str, torch.Tensor] | None:
        """The columns as tensors over the mapped files, where one gather a column serves: a single shard of dense columns."""
        if len(self._shards) != 1 or any(column.ragged for column in self.card.columns.values()):
            return None
        return {name: torch.from_numpy(column) for name, column in self._shards[0].items()}

    def __len__(self) -> int:
        return self.rows

    def verify(self) -> None:
        """Hash all files of the data set again.

        Raises:
            UserError: a shard's content is not the card's.
        """
        require_contents(self.directory, self.card)

    def fetch(self, indices: Indices) -> dict[str, torch.Tensor]:
        """Return the rows `indices`, `(B,)` int64, in that order: one gather a column.

        A dense column gives `(B, ...)`; a ragged one `<column>`, all its values end to end, and `<column>.offsets`, int64
        `(B + 1,)`; `sample_id`, int64 `(B,)`, the row numbers.

        Raises:
            IndexError: a row number outside the split.
        """
        rows = torch.from_numpy(np.array(indices, dtype=np.int64))
        if self._whole is not None:
            return {**{name: column.index_select(0, rows) for name, column in self._whole.items()}, "sample_id": rows}
        batch: dict[str, torch.Tensor] = {}
        for name, column in self.columns(indices).items():
            if isinstance(column, Ragged):
                batch[name], batch[f"{name}.offsets"] = torch.from_numpy(column.values), torch.from_numpy(column.offsets)
            else:
                batch[name] = torch.from_numpy(column)
        batch["sample_id"] = rows
        return batch

    def columns(self, indices: Indices) -> dict[str, Array | Ragged]:
        """Return the rows `indices` as arrays of their own, without torch and without `sample_id`; see `fetch`."""
        indices = np.asarray(indices, dtype=np.int64)
        if len(indices) and indices.view(np.uint64).max() >= self.rows:  # as unsigned, a negative number is a huge one
            raise IndexError(f"row numbers {indices.min()} to {indices.max()} of a split with {self.rows} rows")
        owners = np.searchsorted(self._starts, indices, side="right") - 1
        local = indices - self._starts[owners]
        return {name: self._gather(name, column, owners, local) for name, column in self.card.columns.items()}

    def blocks(self, rows: int) -> Iterator[dict[str, Array | Ragged]]:
        """Yield the split's columns in row order, at most `rows` rows at a time: for work that must not hold the whole."""
        for start in range(0, self.rows, rows):
            yield self.columns(np.arange(start, min(start + rows, self.rows)))

    def _gather(self, name: str, column: Column, owners: Indices, local: Indices) -> Array | Ragged:
        if column.ragged:
            return self._gather_ragged(name, column, owners, local)
        if len(self._shards) == 1:  # the common case: one copy instead of two
            whole = self._shards[0][name]
            assert not isinstance(whole, Ragged)
            return whole.take(local, axis=0)
        out = np.empty((len(local), *column.shape), column.dtype)
        for owner in np.unique(owners):
            part, wanted = self._shards[owner][name], owners == owner
            assert not isinstance(part, Ragged)
            out[wanted] = part[local[wanted]]
        return out

    def _gather_ragged(self, name: str, column: Column, owners: Indices, local: Indices) -> Ragged:
        starts, lengths = np.zeros_like(local), np.zeros_like(local)
        for owner in np.unique(owners):
            part, wanted = self._shards[owner][name], owners == owner
            assert isinstance(part, Ragged)
            starts[wanted] = part.offsets[local[wanted]]
            lengths[wanted] = part.offsets[local[wanted] + 1] - starts[wanted]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        # Position of each wanted value in its shard: the row's start there, plus the value's place in the row.
        places = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
        value_owners = np.repeat(owners, lengths)
        values = np.empty((int(offsets[-1]), *column.shape), column.dtype)
        for owner in np.unique(value_owners):
            part, wanted = self._shards[owner][name], value_owners == owner
            assert isinstance(part, Ragged)
            values[wanted] = part.values[places[wanted]]
        return Ragged(values, offsets)

    def _open(self, stem: str, rows: int) -> dict[str, Array | Ragged]:
        opened: dict[str, Array | Ragged] = {}
        for name, column in self.card.columns.items():
            if not column.ragged:
                opened[name] = self._map(f"{stem}.{name}.npy", column.dtype, (rows, *column.shape))
                continue
            offsets = self._map(f"{stem}.{name}.offsets.npy", "int64", (rows + 1,))
            values = self._map(f"{stem}.{name}.npy", column.dtype, (int(offsets[-1]), *column.shape))
            opened[name] = Ragged(values, offsets)
        return opened

    def _map(self, name: str, dtype: str, shape: tuple[int, ...]) -> Array:
        try:
            mapped = np.load(self.directory / name, mmap_mode="c", allow_pickle=False)  # copy on write: torch takes it, the file stays
        except (ValueError, EOFError, OSError) as error:
            raise UserError(f"shard {name} is corrupted: {error}", received=self.directory / name, mend="prepare the data set again") from error
        if (mapped.dtype.name, mapped.shape) != (dtype, shape):
            raise UserError(f"shard {name} is corrupted", received=f"{mapped.dtype} {mapped.shape}", expected=f"{dtype} {shape}")
        return np.asarray(mapped)  # the plain view: np.memmap's own indexing is several times slower


def require_version(dataset: ShardDataset, content_sha256: str) -> None:
    """Compare an opened data set with the version that is wanted.

    Raises:
        UserError: it is another one.
    """
    if dataset.card.content_sha256 != content_sha256:
        raise UserError(
            f"another version of data set '{dataset.card.name}' has taken the place of the one that was asked for",
            received=dataset.card.content_sha256,
            expected=content_sha256,
            mend="run the same command again",
        )


def _open_again(content_sha256: str, directory: Path, *splits: str) -> ShardDataset:
    """What was sent to another process: the rows stayed where they were, so they must still be the same ones."""
    dataset = ShardDataset(directory, *splits)
    require_version(dataset, content_sha256)
    return dataset


def _make_room(files: int) -> None:
    """Let this process hold so many more files: a mapped one stays open, and many systems allow 1,024 until a process asks for more.

    Raises:
        UserError: the system does not allow so many.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = len(os.listdir("/dev/fd")) + files + _SPARE_FILES
    if soft == resource.RLIM_INFINITY or wanted <= soft:
        return
    if hard != resource.RLIM_INFINITY and wanted > hard:
        raise UserError(
            "the data set has more shards than this process may hold open",
            received=f"{files} files",
            expected=f"at most {max(0, files - wanted + hard)} of them here",
            mend="prepare it with larger shards (data.shard_mib=1024), or raise the limit (`ulimit -Hn`)",
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
