"""Which rows two models may be compared on: those that neither was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components.data.dataset import ShardDataset
from components.data.survey import row_hashes
from components.gate.slices import Rows


@dataclass(frozen=True)
class FairRows:
    """The rows of the judged split.

    Attributes:
        fair: row numbers that neither model was trained on.
        leaked: how many of all the candidate was trained on.
        seen: how many of all the champion was trained on: a row of yesterday's training split may be one of today's test split. None where the
            data that it was trained on are gone.
        total: rows of the split.
    """

    fair: Rows
    leaked: int
    seen: int | None
    total: int


def fair_rows(judged: ShardDataset, candidate: Path | None, champion: Path | None) -> FairRows:
    """Find the rows that both may be judged on, by the content of rows, labels left out.

    Args:
        judged: the split that both are judged on.
        candidate, champion: the prepared data that each was trained on; None: its data are gone, or there is no such model.
    """
    hashes = row_hashes(judged)
    leaked = _among(hashes, candidate)
    seen = leaked if champion == candidate else _among(hashes, champion)
    return FairRows(np.flatnonzero(~(leaked | seen)), int(leaked.sum()), None if champion is None else int(seen.sum()), judged.rows)


def _among(hashes: list[bytes], trained_on: Path | None) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    known = set() if trained_on is None else set(row_hashes(ShardDataset(trained_on, "train")))
    return np.array([found in known for found in hashes], dtype=bool)
