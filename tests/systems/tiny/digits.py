"""scikit-learn ships the real file."""

from __future__ import annotations

import gzip
from importlib import resources
from pathlib import Path


def write(raw: Path) -> None:
    packed = resources.files("sklearn") / "datasets" / "data" / "digits.csv.gz"
    (raw / "digits.csv").write_bytes(gzip.decompress(packed.read_bytes()))
