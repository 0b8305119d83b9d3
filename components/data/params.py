"""params.yaml and conf/data/<name>.yaml: plain YAML that defines data sets (their schema is components/spec/schema.DataSpec)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from components.errors import UserError
from components.spec.schema import DataSpec

PARAMS_NAME = "params.yaml"
RAW, PREPARED = Path("data/raw"), Path("data/prepared")


def reader_file(definition: DataSpec) -> str:
    """Return the reader's source file, relative to the project's root: what DVC watches."""
    return definition.prepare.name.rpartition(".")[0].replace(".", "/") + ".py"


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
