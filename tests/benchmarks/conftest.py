"""Prepared data of the benchmarks' systems, cut down to what a test has time for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.training.systems import SYSTEMS, System, write_data

STEPS = 7  # more than an epoch, so that the second one's order and its fresh recurrent state are compared too


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> Callable[[str], tuple[System, Path]]:
    """A system of five steps an epoch, and its data."""
    made: dict[str, tuple[System, Path]] = {}

    def make(name: str) -> tuple[System, Path]:
        if name not in made:
            system = replace(SYSTEMS[name], batch_size=6, rows=30)
            made[name] = system, write_data(system, tmp_path_factory.mktemp(name) / "data")
        return made[name]

    return make
