"""Bytes by URL: the same on memory, on a folder and on a real S3 server; what is no remote is refused before anything starts."""

from __future__ import annotations

import socket
import uuid

import pytest

from components.errors import UserError
from flows.adapters import remote as module
from flows.adapters.remote import Remote, Unreachable
from tests.s3 import SECRET, serve


@pytest.fixture(scope="module")
def s3():
    pytest.importorskip("moto", reason="needs moto's S3 server: pip install 'moto[server]' s3fs")
    pytest.importorskip("s3fs", reason="needs s3fs")
    with serve() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.env.items():
            patch.setenv(name, value)
        yield server


@pytest.fixture(params=["memory", "file", "s3"])
def url(request, tmp_path):
    if request.param == "memory":
        return f"memory://{uuid.uuid4().hex}/prefix"
    if request.param == "file":
        (tmp_path / "shared").mkdir()
        return f"file://{tmp_path}/shared"
    return f"s3://{request.getfixturevalue('s3').bucket()}/prefix"


def test_what_is_sent_is_listed_read_and_received(url, tmp_path):
    remote = Remote(url)
    files = {f"stages/train/k/{i}.bin": tmp_path / f"{i}.bin" for i in range(9)}  # more than travel together
    for i, path in enumerate(files.values()):
        path.write_bytes(bytes([i]) * i)
    assert remote.sizes("stages/train/k") == {}
    assert remote.read("stages/train/k/manifest.json") is None
    remote.send(files)
    remote.write({"stages/train/k/manifest.json": b"{}", "ledger/1.json": b"one"})
    assert remote.sizes("stages/train/k") == {**{f"{i}.bin": i for i in range(9)}, "manifest.json": 2}
    assert remote.read("ledger/1.json") == b"one"
    back = {tmp_path / "back" / "deep" / path.name: name for name, path in files.items()}
    remote.receive({**back, tmp_path / "twin": "stages/train/k/8.bin"})
    assert [path.read_bytes() for path in back] == [bytes([i]) * i for i in range(9)]
    assert (tmp_path / "twin").read_bytes() == bytes([8]) * 8


def test_a_listing_is_as_new_as_it_is_asked_for(url):
    ours, theirs = Remote(url), Remote(url + "/")
    assert ours.sizes("a") == {}
    theirs.write({"a/one": b"1"})
    assert ours.sizes("a") == {"one": 1}
    theirs.write({"a/one": b"123", "a/two": b""})
    assert ours.sizes("a") == {"one": 3, "two": 0}


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("bucket/prefix", "the remote is no URL"),
        ("/mnt/share", "the remote is no URL"),
        ("s3://", "the remote is no URL"),
        ("s3:/bucket", "the remote is no URL"),
        ("S3 ://bucket", "the remote is no URL"),
        ("file://relative/folder", "the remote is no URL"),
        ("simplecache::s3://bucket/x", "the remote is no URL"),
        ("s33://bucket/x", "protocol 's33' is not known, did you mean 's3'"),
        ("oci://bucket/x", "protocol 'oci' needs a package that is not installed\n  received: remote=oci://bucket/x\n  to mend:  Install ocifs"),
        ("abfs://container@account.dfs.core.windows.net/x", "protocol 'abfs' needs a package.*adlfs"),  # Azure's @ is no password
        ("sftp://host/x", "protocol 'sftp' needs a package.*requires \"paramiko\""),
    ],
)
def test_what_is_no_remote_is_refused_by_name(url, message):
    with pytest.raises(UserError, match=f"(?s){message}"):
        Remote(url)


@pytest.mark.parametrize("url", [f"sftp://me:{SECRET}@host/x", f"s3://me:{SECRET}@bucket/x", f"abfs://c@account/x?sig={SECRET}"])
def test_a_password_in_the_url_is_refused_and_not_repeated(url):
    with pytest.raises(UserError, match="holds more than a place") as told:
        Remote(url)
    assert SECRET not in str(told.value) and "environment" in str(told.value)


def test_a_folder_that_is_not_mounted_is_not_made(tmp_path):
    remote = Remote(f"file://{tmp_path}/share")
    with pytest.raises(Unreachable, match="cannot be reached: FileNotFoundError: the folder is not there: is it mounted"):
        remote.read("x")
    with pytest.raises(Unreachable):
        remote.write({"x": b""})
    assert list(tmp_path.iterdir()) == []


def test_a_bucket_that_is_absent_takes_nothing(s3, tmp_path):
    with pytest.raises(Unreachable, match=r"s3://absent/x cannot be reached: FileNotFoundError: The specified bucket does not exist"):
        Remote("s3://absent/x").write({"x": b""})


def test_a_port_where_nobody_listens(monkeypatch, s3):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free.getsockname()[1]}")
        with pytest.raises(Unreachable, match="s3://bucket/x cannot be reached: EndpointConnectionError"):
            Remote("s3://bucket/x").read("y")


def test_a_host_that_never_answers_is_waited_for_so_long_and_no_longer(monkeypatch, s3):
    monkeypatch.setattr(module, "_ANSWER_SECONDS", 0.5)
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()  # takes the connection and says nothing
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{deaf.getsockname()[1]}")
        with pytest.raises(Unreachable, match="TimeoutError: no answer within"):
            Remote("s3://bucket/x").read("y")


def test_an_error_is_one_line_without_what_the_environment_keeps(monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", SECRET)
    told = module._told(PermissionError(f"denied to {SECRET}\nand more"))
    assert told == "PermissionError: denied to ***"
