"""Ray's traps: several clusters, the token, a long temporary path, small shared memory, few open files."""

from __future__ import annotations

import resource
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from flows.machine import ray
from tests.flows.machine.conftest import one
from tests.processes import spawn


@contextmanager
def raylet(address):
    """A process that looks like Ray's, as far as Ray itself looks."""
    command = ["raylet", "-c", "read line", "raylet", f"--gcs-address={address}"]
    process = spawn(command, executable="/bin/sh", stdin=subprocess.PIPE)
    try:
        yield
    finally:
        process.kill()
        process.wait()
        process.stdin.close()


def test_two_clusters_are_told_unless_one_is_chosen(having, tmp_path):
    with raylet("10.0.0.1:6379"), raylet("10.0.0.1:6380"):
        found = one(ray.clusters(having(RAY_ADDRESS=None, RAY_TMPDIR=str(tmp_path))), "warn").found
        assert "10.0.0.1:6379" in found and "10.0.0.1:6380" in found
        assert "10.0.0.1:6379" in one(ray.clusters(having(RAY_ADDRESS="10.0.0.1:6379")), "ok").found


def test_a_cluster_that_ray_remembers_and_that_is_gone(having, tmp_path):
    remembered = tmp_path / "ray" / "ray_current_cluster"
    remembered.parent.mkdir()
    remembered.write_text("10.0.0.9:6379")
    machine = having(RAY_ADDRESS=None, RAY_TMPDIR=str(tmp_path))
    assert str(remembered) in one(ray.clusters(machine), "warn").mend
    with raylet("10.0.0.9:6379"):
        assert "gone" not in ray.clusters(machine).found


def test_a_token_that_others_may_read(having, open_folder):
    path = open_folder / ".ray" / "auth_token"
    path.parent.mkdir()
    path.write_text("secret-secret")
    machine = having(HOME=str(open_folder))
    path.chmod(0o644)
    finding = one(ray.token(machine), "warn")
    assert finding.mend == f"chmod 600 {path}" and "secret" not in f"{finding}"
    path.chmod(0o600)
    one(ray.token(machine), "ok")
    path.chmod(0o644)
    open_folder.chmod(0o700)  # nobody gets as far as the file
    one(ray.token(machine), "ok")


def test_other_states_of_the_token(having, machine, tmp_path):
    one(ray.token(machine), "ok")
    one(ray.token(having(RAY_AUTH_TOKEN="x")), "ok")
    one(ray.token(having(RAY_AUTH_MODE="disabled")), "warn")
    one(ray.token(having(RAY_AUTH_MODE="tokn")), "fail")
    one(ray.token(having(RAY_AUTH_TOKEN_PATH=str(tmp_path / "nowhere"))), "fail")
    (tmp_path / "empty").touch()
    assert "is empty" in one(ray.token(having(RAY_AUTH_TOKEN_PATH=str(tmp_path / "empty"))), "fail").found


@pytest.mark.parametrize(("length", "status"), [(41, "ok"), (42, "fail")])
def test_a_temporary_path_too_long_for_a_socket(machine, having, length, status):
    """`/ray/session_.../sockets/plasma_store` with a pid of five digits takes 66 bytes, and the kernel allows 107."""
    (machine.proc / "sys/kernel").mkdir(parents=True)
    (machine.proc / "sys/kernel/pid_max").write_text("32768\n")
    finding = one(ray.socket_path(having(RAY_TMPDIR="/" + "t" * (length - 1))), status)
    assert f"{length + 66} bytes" in finding.found


def test_the_socket_s_form_is_ray_s(machine):
    """Against a session folder as Ray 2.60 made it (design notes, R16)."""
    made = "/tmp/ray/session_2026-11-21_13-33-49_818983_32767/sockets/plasma_store"
    (machine.proc / "sys/kernel").mkdir(parents=True)
    (machine.proc / "sys/kernel/pid_max").write_text("32768\n")
    assert f"{len(made)} bytes" in ray.socket_path(machine).found


def test_shared_memory_that_is_too_small(machine):
    one(ray.shared_memory(machine), "ok")
    one(ray.shared_memory(replace(machine, shared_memory=Path("/proc"))), "warn")  # a file system without any room


def test_few_open_files(machine):
    assert one(ray.open_files(machine), "ok")
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024)); from flows.machine import ray; f = ray.open_files(None);"
        "print(f.status, f.found)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], capture_output=True, text=True)
    assert done.stdout == "warn 1,024 open files a process\n", done.stderr
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] != 1024
