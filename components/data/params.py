"""params.yaml and conf/data/<name>.yaml: plain YAML that defines data sets (their schema is components/spec/schema.DataSpec)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from components.errors import UserError
from components.files import digest
from components.spec.schema import DataSpec

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's, where it was compiled: a sixth of the time, and dvc.lock is long
PARAMS_NAME = "params.yaml"
RAW, PREPARED = Path("data/raw"), Path("data/prepared")


def reader_file(definition: DataSpec) -> str:
    """Return the reader's source file, relative to the project's root: what DVC watches."""
    return definition.prepare.name.rpartition(".")[0].replace(".", "/") + ".py"


def own_stamp(definition: DataSpec, root: Path) -> str:
    """Return what changes when a user's own files do: a hash of their names, sizes and times; "" where there are none.

    A touched file costs a fetch and no more: what follows is keyed by content.
    """
    if definition.fetch.path is None:
        return ""
    path = root / definition.fetch.path
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path] if path.is_file() else []
    return digest([[p.relative_to(path).as_posix(), p.stat().st_size, p.stat().st_mtime_ns] for p in files])


def read_yaml(path: Path) -> Any:
    """Read a YAML file of plain data.

    Raises:
        UserError: it is missing or no YAML.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _LOADER)
    except FileNotFoundError as error:
        raise UserError(f"{path.name} is missing", received=path) from error
    except yaml.YAMLError as error:
        raise UserError(f"{path.name} is no YAML: {error}", received=path) from error
