"""What conf/data/<name>.yaml defines, and params.yaml repeats for DVC: one data set."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from components.errors import UserError, nearest

T = TypeVar("T")


@dataclass(frozen=True)
class FetchDefinition:
    """Where raw files come from.

    Args:
        files: unpacked name -> hex sha256: whatever the route, this is what the data are.
        archives: what the origin serves, name -> "md5:<hex>" or "sha256:<hex>".
        mirror: what the offline mirror folder holds, in the same form; empty means the same files as the origin.
        base_url: of the origin; archives' names are appended.
        package: an installed Python package that ships the archives, instead of an origin; their names are paths inside it.
    """

    files: dict[str, str]
    archives: dict[str, str]
    mirror: dict[str, str] = field(default_factory=dict)
    base_url: str | None = None
    package: str | None = None


@dataclass(frozen=True)
class DataDefinition:
    """One data set: who it is, how it is fetched, read (`prepare`: `_target_` and options of the reader) and cut."""

    name: str
    title: str
    licence: str
    homepage: str
    fetch: FetchDefinition
    prepare: dict[str, Any]
    num_classes: int | None = None
    shard_mib: int = 64

    @property
    def reader(self) -> str:
        """The reader's source file, relative to the project's root: what DVC watches."""
        return str(self.prepare["_target_"]).rpartition(".")[0].replace(".", "/") + ".py"

    def to_plain(self) -> dict[str, Any]:
        """Return the plain form; defaults are written out, so that equal definitions give equal text."""
        return dataclasses.asdict(self)


def parse_definition(plain: Mapping[str, Any], path: str = "data") -> DataDefinition:
    """Turn plain data into a definition; `path` names it in messages.

    Raises:
        UserError: an unknown or missing key, a reader outside components.data.sources, or not exactly one of base_url and package.
    """
    known = _fields(FetchDefinition, plain.get("fetch"), f"{path}.fetch")
    definition = _fields(DataDefinition, {**plain, "fetch": known}, path)
    target = definition.prepare.get("_target_") if isinstance(definition.prepare, dict) else None
    if not isinstance(target, str) or not target.startswith("components.data.sources."):
        raise UserError(
            f"{path}.prepare._target_ names no reader",
            received=repr(target),
            expected="a function of a module under components.data.sources",
        )
    if (known.base_url is None) == (known.package is None):
        raise UserError(f"{path}.fetch needs one origin", received=known, expected="either base_url or package")
    return definition


def _fields(kind: type[T], plain: object, path: str) -> T:
    if not isinstance(plain, Mapping):
        raise UserError(f"{path} must be a mapping", received=repr(plain))
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in plain:
        if key not in fields:
            raise UserError(f"unknown key '{path}.{key}'{nearest(str(key), fields)}", expected=f"one of: {', '.join(sorted(fields))}")
    for name, f in fields.items():
        if name not in plain and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            raise UserError(f"missing key '{path}.{name}'")
    return kind(**plain)


def read_yaml(path: Path) -> Any:
    """Read a YAML file of plain data.

    Raises:
        UserError: it is missing or no YAML.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path.name} is missing", received=path) from error
    except yaml.YAMLError as error:
        raise UserError(f"{path.name} is no YAML: {error}", received=path) from error
