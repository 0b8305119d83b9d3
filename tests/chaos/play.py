"""Playing cells: the fault once, then the same command without it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from unittest.mock import patch

from flows.adapters.prefect import server
from tests.chaos.arena import Arena, Attempt
from tests.chaos.matrix import COMMAND, SETTINGS, Cell
from tests.chaos.verdict import Facts, complaints, finished_stages, sound


@dataclass(frozen=True)
class Outcome:
    cell: Cell
    first: Attempt
    second: Attempt
    complaints: list[str]


@dataclass(frozen=True)
class Reference:
    """An undisturbed run of the command in one setting, and where cells may begin."""

    facts: Facts
    beginnings: Path


def reference(arena: Arena, setting: str, beginnings: Path) -> Reference:
    """Run the command undisturbed, see that it is sound, and prepare the beginnings."""
    arena.put_back(None)
    ran = arena.attempt(*COMMAND, *SETTINGS[setting])
    assert ran.code == 0, ran.output
    facts = Facts.of(arena.root, ran.result)
    wrong = list(sound(facts))
    assert not wrong, wrong
    arena.prepare_beginnings(beginnings, *COMMAND[1:], *SETTINGS[setting])
    return Reference(facts, beginnings)


def play(arena: Arena, cell: Cell, undisturbed: Reference) -> Outcome:
    """Play one cell."""
    arena.put_back(undisturbed.beginnings / cell.begun if cell.begun else None)
    command = (*COMMAND, *SETTINGS[cell.setting])
    first = arena.attempt(*command, fault=(cell.step, cell.victim))
    finished = finished_stages(arena.root / "store")
    second = arena.attempt(*command)
    found = list(complaints(arena, undisturbed.facts, finished, second))
    if not first.killed:
        found.insert(0, "the fault did not come to pass")
    if first.code is None or second.code is None:
        found.insert(0, "hung")
    arena.end_all()
    return Outcome(cell, first, second, found)


@contextmanager
def arenas(count: int, prefect_url: str) -> Iterator[list[Arena]]:
    """Make copies of the project under a folder with a short name, removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="chaos-", dir="/tmp"))
    try:
        yield [Arena(folder / str(number), prefect_url) for number in range(count)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def prefect_server() -> Iterator[str]:
    """Hold a Prefect server and yield its URL."""
    with tempfile.TemporaryDirectory() as home, patch.dict(os.environ, {"PREFECT_HOME": home}):
        os.environ.pop("PREFECT_API_URL", None)
        with server() as ready:
            ready()
            yield os.environ["PREFECT_API_URL"]


def play_all(cells: list[Cell], at_a_time: int) -> Iterator[Outcome]:
    """Play cells, so many at a time, each in an arena of its own; yields in the order in which they end."""
    with prefect_server() as url, arenas(at_a_time, url) as made:
        beginnings = made[0].folder.parent
        settings = {cell.setting: None for cell in cells}
        references = {setting: reference(made[0], setting, beginnings / setting) for setting in settings}
        free: Queue[Arena] = Queue()
        done: Queue[Outcome | BaseException] = Queue()
        for arena in made:
            free.put(arena)

        def one(cell: Cell) -> None:
            arena = free.get()
            try:
                done.put(play(arena, cell, references[cell.setting]))
            except BaseException as error:
                done.put(error)
            free.put(arena)

        with ThreadPoolExecutor(at_a_time) as pool:
            for cell in cells:
                pool.submit(one, cell)
            for _ in cells:
                outcome = done.get()
                if isinstance(outcome, BaseException):
                    raise outcome
                yield outcome
