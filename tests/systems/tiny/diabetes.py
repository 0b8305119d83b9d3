"""scikit-learn ships the real files."""

from __future__ import annotations

import gzip
from importlib import resources
from pathlib import Path


def write(raw: Path) -> None:
    for name in ("diabetes_data_raw.csv", "diabetes_target.csv"):
        packed = resources.files("sklearn") / "datasets" / "data" / f"{name}.gz"
        (raw / name).write_bytes(gzip.decompress(packed.read_bytes()))
