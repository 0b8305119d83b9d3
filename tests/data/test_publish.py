"""Directories that are whole or absent, whenever the process that makes them is killed."""

from __future__ import annotations

import pytest

from components.data.publish import atomic_directory, temporary_directory
from tests.crash import crashes


def make(path, text):
    with atomic_directory(path) as folder, temporary_directory(path) as scratch:
        (scratch / "download").write_text(text)
        (folder / "rows").write_text(text)


def test_killed_at_any_step_it_is_whole_or_absent_and_the_next_one_leaves_nothing_else(tmp_path):
    states = set()
    for number, old in ((n, old) for old in (False, True) for n in crashes(lambda n, old=old: begin(tmp_path / str(old) / str(n), old))):
        path = tmp_path / str(old) / str(number) / "x"
        state = (path / "rows").read_text() if path.exists() else "absent"
        states.add((old, state))
        make(path, "again")
        assert [p.name for p in path.parent.iterdir()] == ["x"] and (path / "rows").read_text() == "again"
    assert states == {(False, "absent"), (True, "old"), (True, "absent"), (True, "new")}


def begin(folder, old):
    if old:
        make(folder / "x", "old")
    make(folder / "x", "new")


def test_what_others_are_making_is_not_touched(tmp_path):
    with atomic_directory(tmp_path / "a-x") as folder:
        make(tmp_path / "x", "1")
        assert folder.is_dir()
    with pytest.raises(ZeroDivisionError), atomic_directory(tmp_path / "x"):
        raise ZeroDivisionError
    assert {p.name for p in tmp_path.iterdir()} == {"a-x", "x"}
