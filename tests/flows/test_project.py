"""Where the project and its store are."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.errors import UserError
from flows import project
from flows.project import project_root, require_writable

ROOT = Path(__file__).parents[2]


def test_the_root_is_the_nearest_project_above_else_this_checkout(tmp_path):
    assert project_root(ROOT / "components" / "data") == ROOT
    assert project_root(tmp_path) == ROOT
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "config.yaml").touch()
    assert project_root(tmp_path) == ROOT  # somebody's else conf/ is no project
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / "deep" / "below").mkdir(parents=True)
    assert project_root(tmp_path / "deep" / "below") == tmp_path.resolve()


def test_a_store_that_can_be_written_is_made_and_left_empty(tmp_path):
    require_writable(tmp_path / "a" / "store")
    assert list((tmp_path / "a" / "store").iterdir()) == []


def test_a_store_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "store", Path("/proc/store")):
        with pytest.raises(UserError, match="cannot be written") as caught:
            require_writable(folder)
        assert str(folder) in str(caught.value) and "store=/path" in str(caught.value)


def test_a_disk_without_room_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(project, "MIN_FREE_BYTES", 1 << 62)  # no disk has that much
    with pytest.raises(UserError, match="nearly full"):
        require_writable(tmp_path)
