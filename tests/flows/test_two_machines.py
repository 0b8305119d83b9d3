"""Two machines, each with a store of its own, and one bucket: what the first has trained the second does not train again."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.files import read_json
from tests.s3 import SECRET, serve

INLINE = ("run", "cluster=inline", "debug=fast", "tracking=disabled")
TAKEN = ("check", "train", "evaluate", "report")


@pytest.fixture(scope="module")
def s3():
    pytest.importorskip("moto", reason="needs moto's S3 server: pip install 'moto[server]' s3fs")
    pytest.importorskip("s3fs", reason="needs s3fs")
    with serve() as server:
        yield server


@pytest.fixture(scope="module")
def command(s3):
    bucket = s3.bucket()
    s3.counts()
    return (*INLINE, f"remote=s3://{bucket}/team")


@pytest.fixture(scope="module")
def first(make_workspace, s3, command):
    """The first machine's workspace, its run, and what it asked of the bucket."""
    workspace = make_workspace()
    return workspace, workspace.result(*command, **s3.env), s3.counts()


@pytest.fixture(scope="module")
def second(make_workspace, s3, command, first):
    workspace = make_workspace()
    return workspace, workspace.result(*command, **s3.env), s3.counts()


def test_the_second_machine_takes_everything_but_the_data(first, second):
    (_, ran, _), (workspace, taken, _) = first, second
    assert {name: stage["status"] for name, stage in taken["stages"].items()} == {"data": "ran", **dict.fromkeys(TAKEN, "reused")}
    assert {k: taken[k] for k in ("run_id", "metrics", "expectations")} == {k: ran[k] for k in ("run_id", "metrics", "expectations")}
    assert (Path(taken["checkpoint"]) / "model.safetensors").read_bytes() == (Path(ran["checkpoint"]) / "model.safetensors").read_bytes()
    assert Path(taken["report"]).is_relative_to(workspace.root) and Path(taken["report"]).read_bytes() == Path(ran["report"]).read_bytes()


def test_both_ledgers_say_where_the_stages_come_from(first, second, command):
    url = command[-1].removeprefix("remote=")
    told = read_json(second[0].root / "store" / "runs" / second[1]["run_id"] / "run.json")["stages"]
    assert {name: stage["why"] for name, stage in told.items() if name != "data"} == dict.fromkeys(TAKEN, f"taken from {url}")
    for (workspace, _, _), source in ((first, None), (second, url)):
        lines = (workspace.root / "store" / "ledger.jsonl").read_text().splitlines()
        assert sum(f'"from":"{url}"' in line for line in lines) == (4 if source else 0) and len(lines) == 6


def test_what_a_run_asks_of_the_bucket(first, second):
    """The figures of docs/remote.md: of writes and downloads exactly, of looks at most, for these are s3fs's own way of looking."""
    manifests = [read_json(Path(first[1]["stages"][name]["directory"]) / "manifest.json") for name in TAKEN]
    files = sum(len(manifest["files"]) for manifest in manifests)
    objects = sum(len({(entry["sha256"], Path(name).suffix) for name, entry in manifest["files"].items()}) for manifest in manifests)
    patch = int((first[0].root / "store" / "runs" / first[1]["run_id"] / "uncommitted.patch").is_file())
    stages, entries, run = 4, 6, 1
    asked, asked_again = first[2], second[2]
    assert asked["PUT"] == objects + stages + entries + run + patch and "GET" not in asked
    assert asked["HEAD"] + asked["LIST"] <= 2 * (stages + run) + 4 * stages
    assert asked_again["PUT"] == entries and asked_again["GET"] == files + stages + run
    assert asked_again["HEAD"] + asked_again["LIST"] <= (stages + run) + stages


def test_an_unchanged_command_asks_nothing(second, s3, command):
    workspace, before, _ = second
    again = workspace.result(*command, **s3.env)
    assert {stage["status"] for stage in again["stages"].values()} == {"reused"} and again["run_id"] == before["run_id"]
    assert s3.counts() == {}


def test_the_secret_is_written_nowhere(first, second, s3, command):
    """Not in the stores, and not in the bucket."""
    import fsspec

    for workspace, _, _ in (first, second):
        for path in (p for p in (workspace.root / "store").rglob("*") if p.is_file()):
            assert SECRET.encode() not in path.read_bytes(), path
    options = {"key": "x", "secret": "y", "client_kwargs": {"endpoint_url": s3.endpoint}}
    system = fsspec.filesystem("s3", **options)
    names = system.find(command[-1].removeprefix("remote="))
    assert any(name.endswith("/run.json") for name in names) and sum("/ledger/" in name for name in names) == 12
    assert not any(SECRET.encode() in content for content in system.cat(names).values())


def test_a_remote_that_is_gone_is_one_line(first, s3):
    workspace, before, _ = first
    done = workspace.run(*INLINE, "remote=s3://bucket-of-nobody/x", **s3.env)
    assert done.returncode == 0 and f"run {before['run_id']}" in done.stdout
    (line,) = [line for line in (done.stdout + done.stderr).splitlines() if "nobody" in line]
    assert line.startswith("warning: s3://bucket-of-nobody/x cannot be reached: ") and "Traceback" not in done.stderr


def test_what_is_no_remote_is_refused_before_anything_starts(first):
    workspace, _, _ = first
    done = workspace.run(*INLINE, "seed=1", "remote=s33://bucket/x")
    assert done.returncode == 2 and "protocol 's33' is not known, did you mean 's3'" in done.stderr
