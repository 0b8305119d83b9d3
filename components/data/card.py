"""card.json: what a prepared data set is, from where, and the hash that stands for its version."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.errors import UserError
from components.files import canonical_json, digest, read_json, sha256_file, write_json

FORMAT = 1
CARD_NAME = "card.json"
_MEND = "prepare the data set again (`dvc repro prepare@<key>`)"


@dataclass(frozen=True)
class Column:
    """What one column holds.

    Args:
        dtype: numpy's name, such as "uint8".
        shape: of one row; of one value where the column is ragged.
        ragged: rows differ in length.
        classes: the names behind class numbers 0, 1, ...; None where the column holds no classes.
    """

    dtype: str
    shape: tuple[int, ...] = ()
    ragged: bool = False
    classes: tuple[str, ...] | None = None


@dataclass(frozen=True)
class FileRecord:
    """A shard file's hex sha256 and size."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Shard:
    """A run of rows, one file a dense column and two a ragged one."""

    rows: int
    files: dict[str, FileRecord]


@dataclass(frozen=True)
class Split:
    """Rows of a split and the shards that hold them, in order."""

    rows: int
    shards: tuple[Shard, ...]


@dataclass(frozen=True)
class Statistics:
    """Of a dense numeric column over the training split; mean and population standard deviation per channel (first axis of a row)."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    minimum: float
    maximum: float


@dataclass(frozen=True)
class Card:
    """The content of card.json; see docs/architecture.md section 2 for each field."""

    name: str
    title: str
    licence: str
    homepage: str
    source: dict[str, str]
    columns: dict[str, Column]
    splits: dict[str, Split]
    statistics: dict[str, Statistics]
    format: int = FORMAT

    @property
    def content_sha256(self) -> str:
        """The data version: hex sha256 over every other field."""
        return digest(self._fields(), length=64)

    def classes(self, column: str = "targets") -> tuple[str, ...]:
        """Return the class names of a column.

        Raises:
            UserError: there is no such column, or it holds no classes.
        """
        described = self.columns.get(column)
        if described is None or described.classes is None:
            raise UserError(f"data set '{self.name}' has no classes in column '{column}'", received=sorted(self.columns))
        return described.classes

    def files(self) -> Iterator[tuple[str, FileRecord]]:
        """Yield every shard file's name and record, split by split."""
        for split in self.splits.values():
            for shard in split.shards:
                yield from shard.files.items()

    def to_plain(self) -> dict[str, Any]:
        """Return the JSON form, `content_sha256` last."""
        return {**self._fields(), "content_sha256": self.content_sha256}

    def _fields(self) -> dict[str, Any]:
        plain: dict[str, Any] = json.loads(canonical_json(dataclasses.asdict(self)))
        return {f.name: plain[f.name] for f in dataclasses.fields(self)}


def write_card(directory: Path, card: Card) -> None:
    """Write card.json; call it last, for it is what makes a directory a data set."""
    write_json(directory / CARD_NAME, card.to_plain())


def load_card(directory: Path) -> Card:
    """Read and verify card.json.

    Raises:
        UserError: it is absent, unreadable, of another format, or its fields do not give its content_sha256.
    """
    path = directory / CARD_NAME
    try:
        plain = read_json(path)
        stated, format_ = plain.pop("content_sha256"), plain["format"]
        card = _from_plain(plain) if format_ == FORMAT else None
    except FileNotFoundError as error:
        raise UserError("this is no prepared data set: card.json is missing", received=directory, mend=_MEND) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"the data card cannot be read: {error}", received=path, mend=_MEND) from error
    if card is None:
        raise UserError("the data card has another format", received=format_, expected=FORMAT, mend=_MEND)
    if card.content_sha256 != stated:
        raise UserError(f"the data card was changed: {path}", received=stated, expected=card.content_sha256, mend=_MEND)
    return card


def _from_plain(plain: Mapping[str, Any]) -> Card:
    splits = {name: Split(s["rows"], tuple(_shard(shard) for shard in s["shards"])) for name, s in plain["splits"].items()}
    return Card(**{**plain, "columns": _columns(plain), "splits": splits, "statistics": _statistics(plain)})


def _shard(plain: Mapping[str, Any]) -> Shard:
    return Shard(plain["rows"], {name: FileRecord(**record) for name, record in plain["files"].items()})


def _columns(plain: Mapping[str, Any]) -> dict[str, Column]:
    return {
        name: Column(c["dtype"], tuple(c["shape"]), c["ragged"], None if c["classes"] is None else tuple(c["classes"]))
        for name, c in plain["columns"].items()
    }


def _statistics(plain: Mapping[str, Any]) -> dict[str, Statistics]:
    return {name: Statistics(tuple(s["mean"]), tuple(s["std"]), s["minimum"], s["maximum"]) for name, s in plain["statistics"].items()}


def require_sizes(directory: Path, files: Mapping[str, FileRecord]) -> None:
    """Compare shard files' sizes with the card.

    Raises:
        UserError: a shard is missing or has another size.
    """
    for name, record in files.items():
        try:
            size = (directory / name).stat().st_size
        except FileNotFoundError as error:
            raise UserError(f"shard {name} is missing", received=directory, mend=_MEND) from error
        if size != record.bytes:
            raise UserError(f"shard {name} is corrupted", received=f"{size} bytes", expected=f"{record.bytes} bytes", mend=_MEND)


def require_contents(directory: Path, card: Card) -> None:
    """Hash every shard again and compare with the card.

    Raises:
        UserError: a shard is missing, or has another size or content.
    """
    files = dict(card.files())
    require_sizes(directory, files)
    for name, record in files.items():
        found = sha256_file(directory / name)
        if found != record.sha256:
            raise UserError(f"shard {name} is corrupted", received=f"sha256 {found}", expected=record.sha256, mend=_MEND)
