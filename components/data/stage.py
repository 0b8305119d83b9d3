"""The two stages that DVC runs, from params.yaml of the current directory."""

from __future__ import annotations

import os
import time
from pathlib import Path

from components.data.fetch import MIRROR_VARIABLE, fetch
from components.data.params import PARAMS_NAME, PREPARED, RAW, read_yaml
from components.data.prepare import prepare
from components.errors import UserError, nearest
from components.spec.parse import parse_data
from components.spec.schema import DataSpec


def run_stage(stage: str, key: str, root: Path) -> str:
    """Run `fetch` or `prepare` for one key of params.yaml and return one line that says what was done.

    Raises:
        UserError: see fetch.fetch and prepare.prepare.
    """
    definition = _definition(root, key)
    started = time.monotonic()
    if stage == "fetch":
        mirror = os.environ.get(MIRROR_VARIABLE)
        done = fetch(definition.fetch, root / RAW / key, Path(mirror) if mirror else None)
    else:
        card = prepare(definition, root / RAW / key, root / PREPARED / key)
        rows = ", ".join(f"{split.rows:,} {name}" for name, split in card.splits.items())
        done = f"{rows} rows, version {card.content_sha256[:12]}"
    return f"{stage} {key}: {done}, {time.monotonic() - started:.1f} s"


def _definition(root: Path, key: str) -> DataSpec:
    data = (read_yaml(root / PARAMS_NAME) or {}).get("data", {})
    if key not in data:
        raise UserError(
            f"unknown data set '{key}'{nearest(key, data)}",
            expected=f"one of: {', '.join(sorted(data))}",
            mend="add a file under conf/data",
        )
    return parse_data({k: v for k, v in data[key].items() if k not in ("reader", "helpers", "stamp")}, f"data.{key}")
