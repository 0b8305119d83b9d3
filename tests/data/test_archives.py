"""Archives: nested ones are opened, damaged and hostile ones refused with a message."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import zipfile

import pytest

from components.data.archives import unpack, verify_archive
from components.errors import UserError

CONTENT = bytes(range(256)) * 20
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def zipped(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def tarred(path, members, mode="w:xz"):
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.mark.parametrize(
    ("make", "wanted"),
    [
        (lambda d: zipped(d / "a.zip", {"x/y.bin": CONTENT}), "x/y.bin"),
        (lambda d: zipped(d / "a.zip", {"y.bin.gz": gzip.compress(CONTENT)}), "y.bin"),
        (lambda d: tarred(d / "a.tar.xz", {"x/y.bin": CONTENT}), "x/y.bin"),
        (lambda d: tarred(d / "a.tgz", {"./y.bin": CONTENT}, "w:gz"), "y.bin"),
        (lambda d: zipped(d / "a.zip", {"in.tar": tarred(d / "in.tar", {"y.bin": CONTENT}, "w").read_bytes()}), "y.bin"),
    ],
    ids=["zip", "gz in zip", "tar.xz", "tgz", "tar in zip"],
)
def test_wanted_files_come_out_whole_and_nothing_else(tmp_path, folder, make, wanted):
    assert unpack([make(tmp_path)], {wanted: SHA256}, folder) == len(CONTENT)
    assert [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()] == [wanted]
    assert (folder / wanted).read_bytes() == CONTENT


def test_a_lone_gz_gives_the_file_inside(tmp_path, folder):
    (tmp_path / "y.bin.gz").write_bytes(gzip.compress(CONTENT))
    unpack([tmp_path / "y.bin.gz"], {"y.bin": SHA256}, folder)
    assert (folder / "y.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("name", ["../evil.bin", "/evil.bin", "x/../../evil.bin", "..\\evil.bin", "C:/evil.bin"])
@pytest.mark.parametrize("make", [lambda p, m: zipped(p / "a.zip", m), lambda p, m: tarred(p / "a.tar.xz", m)], ids=["zip", "tar"])
def test_a_path_that_leaves_the_folder_is_refused(tmp_path, folder, make, name):
    with pytest.raises(UserError, match="leaves its folder"):
        unpack([make(tmp_path, {name: CONTENT})], {"evil.bin": SHA256, name: SHA256}, folder)
    assert not list(tmp_path.rglob("evil.bin"))


def test_a_link_in_a_tar_is_not_followed(tmp_path, folder):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        link = tarfile.TarInfo("y.bin")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(UserError, match="do not hold all files"):
        unpack([tmp_path / "a.tar"], {"y.bin": SHA256}, folder)
    assert not list(folder.iterdir())


def test_a_missing_file_is_named(tmp_path, folder):
    with pytest.raises(UserError, match="do not hold all files") as raised:
        unpack([zipped(tmp_path / "a.zip", {"other": b""})], {"y.bin": SHA256}, folder)
    assert "y.bin" in str(raised.value.expected)


def test_another_content_is_refused(tmp_path, folder):
    with pytest.raises(UserError, match=r"y\.bin in a\.zip is not the one") as raised:
        unpack([zipped(tmp_path / "a.zip", {"y.bin": b"x" + CONTENT[1:]})], {"y.bin": SHA256}, folder)
    assert raised.value.expected == SHA256


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.gz", "a.tar.xz"])
def test_a_file_that_is_no_archive_is_told(tmp_path, folder, name):
    (tmp_path / name).write_bytes(b"this is no archive" * 100)
    with pytest.raises(UserError, match="cannot be unpacked"):
        unpack([tmp_path / name], {name.removesuffix(".gz"): SHA256}, folder)


def test_a_folder_that_cannot_be_written_is_not_blamed_on_the_archive(tmp_path):
    with pytest.raises(NotADirectoryError):
        (tmp_path / "file").write_bytes(b"")
        unpack([zipped(tmp_path / "a.zip", {"x/y.bin": CONTENT})], {"x/y.bin": SHA256}, tmp_path / "file")


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_the_checksum_passes_and_a_truncated_archive_does_not(tmp_path, algorithm):
    path = tmp_path / "a.zip"
    path.write_bytes(CONTENT)
    checksum = f"{algorithm}:{hashlib.new(algorithm, CONTENT).hexdigest()}"
    verify_archive(path, checksum)
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(UserError, match="truncated or tampered") as raised:
        verify_archive(path, checksum)
    assert f"{len(CONTENT) - 1} bytes" in str(raised.value.received)


def test_a_checksum_without_a_known_algorithm_is_told(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"")
    with pytest.raises(UserError, match="no known algorithm"):
        verify_archive(tmp_path / "a.zip", "d41d8cd98f00b204e9800998ecf8427e")


def test_a_single_plain_file_may_go_by_another_name_but_must_be_the_same(tmp_path, folder):
    (tmp_path / "mirrored.bin").write_bytes(CONTENT)
    unpack([tmp_path / "mirrored.bin"], {"x.bin": SHA256}, folder)
    assert (folder / "x.bin").read_bytes() == CONTENT
    (tmp_path / "mirrored.bin").write_bytes(CONTENT[1:])
    with pytest.raises(UserError, match="its sha256 differs"):
        unpack([tmp_path / "mirrored.bin"], {"x.bin": SHA256}, folder)
