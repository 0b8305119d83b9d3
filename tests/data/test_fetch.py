"""Fetching: mirror first, then the origin (a real HTTP server here), and the old directory stays when it fails."""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import threading
import zipfile

import pytest

from components.data.fetch import fetch
from components.errors import UserError
from components.spec.schema import FetchSpec

CONTENT = b"some rows\n" * 500


@pytest.fixture
def origin(tmp_path):
    """A server of one archive; yields its address and the list of paths asked for."""
    folder, asked = tmp_path / "origin", []
    folder.mkdir()
    (folder / "rows.gz").write_bytes(gzip.compress(CONTENT, mtime=0))

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format, *arguments):
            asked.append(self.path)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", asked, folder
    server.shutdown()
    server.server_close()


@pytest.fixture
def mirror_folder(tmp_path):
    folder = tmp_path / "mirror"
    folder.mkdir()
    with zipfile.ZipFile(folder / "rows.zip", "w") as archive:
        archive.writestr("rows.gz", gzip.compress(CONTENT, 1))
    return folder


def plan(base_url, folder, mirror_folder=None):
    checksum = {"rows.gz": "md5:" + hashlib.md5((folder / "rows.gz").read_bytes()).hexdigest()}
    mirror = {}
    if mirror_folder is not None:
        mirror = {"rows.zip": "sha256:" + hashlib.sha256((mirror_folder / "rows.zip").read_bytes()).hexdigest()}
    return FetchSpec({"rows": hashlib.sha256(CONTENT).hexdigest()}, checksum, base_url=base_url, mirror=mirror)


def test_the_origin_is_downloaded_and_unpacked(origin, tmp_path):
    url, asked, folder = origin
    line = fetch(plan(url, folder), tmp_path / "raw" / "x")
    assert [p.name for p in (tmp_path / "raw").rglob("*")] == ["x", "rows"]  # no temporary file is left
    assert (tmp_path / "raw" / "x" / "rows").read_bytes() == CONTENT
    assert asked == ["/rows.gz"] and url in line


def test_the_mirror_is_asked_first_and_gives_the_same_file(origin, mirror_folder, tmp_path):
    url, asked, folder = origin
    fetch(plan(url, folder, mirror_folder), tmp_path / "x", mirror_folder)
    assert (tmp_path / "x" / "rows").read_bytes() == CONTENT
    assert asked == []


def test_where_the_mirror_lacks_the_file_the_origin_is_asked(origin, mirror_folder, tmp_path):
    url, asked, folder = origin
    definition = plan(url, folder, mirror_folder)
    (mirror_folder / "rows.zip").unlink()
    fetch(definition, tmp_path / "x", mirror_folder)
    assert asked == ["/rows.gz"]


def test_a_mirror_without_the_file_and_no_origin_names_both(origin, mirror_folder, tmp_path):
    _, _, folder = origin
    definition = plan("http://127.0.0.1:9/nowhere", folder, mirror_folder)
    (mirror_folder / "rows.zip").unlink()
    with pytest.raises(UserError, match=r"origin cannot be reached; the mirror .*mirror lacks rows\.zip") as raised:
        fetch(definition, tmp_path / "x", mirror_folder)
    assert "http://127.0.0.1:9/nowhere/rows.gz" in str(raised.value.received)
    assert "refused" in str(raised.value.received) and "object at 0x" not in str(raised.value.received)


def test_a_file_that_the_origin_has_not_is_told(origin, tmp_path):
    url, _, folder = origin
    definition = plan(url, folder)
    (folder / "rows.gz").unlink()
    with pytest.raises(UserError, match="origin cannot be reached") as raised:
        fetch(definition, tmp_path / "x")
    assert "404" in str(raised.value.received)


def test_a_mirror_that_is_no_folder_is_told(origin, tmp_path):
    url, _, folder = origin
    with pytest.raises(UserError, match="mirror is no folder"):
        fetch(plan(url, folder), tmp_path / "x", tmp_path / "nothing")


@pytest.mark.parametrize("damage", [lambda b: b[:-20], lambda b: b[:30] + bytes([b[30] ^ 1]) + b[31:]], ids=["truncated", "tampered"])
@pytest.mark.parametrize("route", ["mirror", "origin"])
def test_a_damaged_archive_is_refused_and_the_old_files_stay(origin, mirror_folder, tmp_path, damage, route):
    url, _, folder = origin
    definition = plan(url, folder, mirror_folder)
    archive = mirror_folder / "rows.zip" if route == "mirror" else folder / "rows.gz"
    archive.write_bytes(damage(archive.read_bytes()))
    (tmp_path / "raw" / "x").mkdir(parents=True)
    (tmp_path / "raw" / "x" / "rows").write_bytes(b"old")
    with pytest.raises(UserError, match=f"{archive.name} is truncated or tampered with"):
        fetch(definition, tmp_path / "raw" / "x", mirror_folder if route == "mirror" else None)
    assert (tmp_path / "raw" / "x" / "rows").read_bytes() == b"old"
    assert [p.name for p in (tmp_path / "raw").iterdir()] == ["x"]


def test_a_second_fetch_replaces_the_directory_as_a_whole(origin, tmp_path):
    url, _, folder = origin
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "stale").write_bytes(b"")
    fetch(plan(url, folder), tmp_path / "x")
    assert [p.name for p in (tmp_path / "x").iterdir()] == ["rows"]


def test_a_package_that_is_not_installed_is_told(tmp_path):
    with pytest.raises(UserError, match="package 'no_such_package' that ships the data is not installed"):
        fetch(FetchSpec({}, {"a": "md5:0"}, package="no_such_package"), tmp_path / "x")


def test_a_package_that_ships_no_such_file_is_told(tmp_path):
    with pytest.raises(UserError, match=r"'sklearn' ships no datasets/nothing\.gz"):
        fetch(FetchSpec({}, {"datasets/nothing.gz": "md5:0"}, package="sklearn"), tmp_path / "x")


def test_archives_that_the_reader_opens_itself_are_copied_and_compared(tmp_path, mirror_folder):
    sha = hashlib.sha256((mirror_folder / "rows.zip").read_bytes()).hexdigest()
    definition = FetchSpec(files={"rows.zip": sha}, mirror={"rows.zip": f"sha256:{sha}"}, unpack=False)
    assert fetch(definition, tmp_path / "raw", mirror_folder) == f"1 files, 0.0 MiB, from {mirror_folder}"
    assert (tmp_path / "raw" / "rows.zip").read_bytes() == (mirror_folder / "rows.zip").read_bytes()
    with pytest.raises(UserError, match="truncated or tampered"):
        fetch(FetchSpec(files={"rows.zip": "0" * 64}, mirror=definition.mirror, unpack=False), tmp_path / "other", mirror_folder)
    assert not (tmp_path / "other").exists()


def test_what_has_to_be_got_by_hand_says_so(tmp_path):
    definition = FetchSpec(files={"a": "0" * 64}, mirror={"rows.zip": "sha256:" + "0" * 64})
    with pytest.raises(UserError, match="got by hand") as caught:
        fetch(definition, tmp_path / "raw", None)
    assert "MODELYARD_DATA_MIRROR" in str(caught.value) and "rows.zip" in str(caught.value)


def test_a_generated_set_needs_nothing(tmp_path):
    assert "generates" in fetch(FetchSpec(), tmp_path / "raw")
    assert list((tmp_path / "raw").iterdir()) == []


def test_your_own_file_or_folder_is_copied(tmp_path):
    own = tmp_path / "own"
    (own / "cats").mkdir(parents=True)
    (own / "cats" / "1.txt").write_text("meow")
    fetch(FetchSpec(path=str(own)), tmp_path / "raw" / "folder")
    (own / "cats" / "1.txt").write_text("changed later")
    assert (tmp_path / "raw" / "folder" / "cats" / "1.txt").read_text() == "meow"
    fetch(FetchSpec(path=str(own / "cats" / "1.txt")), tmp_path / "raw" / "file")
    assert (tmp_path / "raw" / "file" / "1.txt").read_text() == "changed later"
    with pytest.raises(UserError, match="not there"):
        fetch(FetchSpec(path=str(tmp_path / "absent")), tmp_path / "raw" / "absent")
