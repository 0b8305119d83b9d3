"""Folders that cannot be written, full disks, SQLite on a network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from flows.machine import disk
from tests.flows.machine.conftest import as_nobody, one

MOUNTS = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:40 / /home rw,relatime shared:3 - nfs4 server:/home rw
31 22 0:41 / /mnt/two\\040words rw - fuse.sshfs user@host: rw
32 30 254:1 / /home/local rw - xfs /dev/vdb rw
"""


def test_folders_that_cannot_be_written(machine, having, open_folder):
    (open_folder / "file").touch()
    shut = open_folder / "shut"
    shut.mkdir(mode=0o555)
    faulty = having(HOME=str(open_folder / "file"), PREFECT_HOME=str(open_folder / "file" / "below"), TMPDIR=str(shut))
    with as_nobody():
        found = disk.writable(replace(faulty, store=shut / "store"))
    told = [one(found, "fail", name).found.partition(": ")[2] for name in ("home writable", "PREFECT_HOME writable")]
    assert told == ["Not a directory", "Not a directory"]
    for name in ("store writable", "TMPDIR writable"):
        assert "Permission denied" in one(found, "fail", name).found
    assert list(shut.iterdir()) == []


def test_a_folder_that_can_be_made_is_as_good(machine):
    one(disk.writable(machine), "ok", "store writable")
    assert not machine.store.exists()


def test_room_is_told_once_a_disk(machine):
    (machine.root / "data").mkdir()
    assert len(disk.room(replace(machine, environment={"TMPDIR": str(machine.root)}))) == 1
    found = disk.room(replace(machine, store=Path("/proc")))  # a file system without any room
    assert one(found, "fail", "room: store").found.startswith("0 bytes")
    assert {f.name for f in found} >= {"room: store"}


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/srv/x", "ext4"), ("/home/me/.prefect", "nfs4"), ("/home/local/me", "xfs"), ("/mnt/two words/x", "fuse.sshfs"), ("/homes", "ext4")],
)
def test_the_file_system_is_the_nearest_mount_s(tmp_path, path, kind):
    (tmp_path / "mountinfo").write_text(MOUNTS)
    assert disk.filesystem(tmp_path / "mountinfo", Path(path)) == kind


def test_prefect_s_database_on_a_network(machine, having):
    (machine.proc / "self").mkdir()
    (machine.proc / "self/mountinfo").write_text(MOUNTS)
    assert "nfs4" in one(disk.database(having(PREFECT_HOME="/home/me/.prefect")), "warn").found
    one(disk.database(having(PREFECT_HOME="/mnt/two words/p")), "warn")
    one(disk.database(having(PREFECT_HOME="/home/local/p")), "ok")
    url = "PREFECT_SERVER_DATABASE_CONNECTION_URL"
    one(disk.database(having(PREFECT_HOME="/srv/p", **{url: "sqlite+aiosqlite:////home/me/p.db"})), "warn")
    finding = one(disk.database(having(PREFECT_HOME="/home/me/p", **{url: "postgresql+asyncpg://me:secret@host/db"})), "ok")
    assert "postgresql" in finding.found and "secret" not in finding.found
