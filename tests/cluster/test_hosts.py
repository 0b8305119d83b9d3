"""The hosts that `make cluster-test` plays on: they reach each other until a cable is pulled, and nothing of them is left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.cluster import hosts
from tests.cluster.hosts import Network, missing, remove_orphans
from tests.processes import until

LISTEN = "import socket; s = socket.create_server(('0.0.0.0', 7000)); print('up', flush=True)\nwhile True: s.accept()[0].close()"
CALL = "import socket, sys; s = socket.socket(); s.settimeout(float(sys.argv[2])); sys.exit(s.connect_ex((sys.argv[1], 7000)))"


@pytest.fixture
def network():
    if lack := missing():
        pytest.skip(f"the cluster of hosts {lack}")
    made = Network(["a", "b"])
    yield made
    made.close()


def reaches(one, other, seconds=1.0):
    called = one.start([sys.executable, "-c", CALL, other.address, str(seconds)], os.environ, Path.cwd(), Path(os.devnull))
    return called.wait(60) == 0


def listen(host, tmp_path):
    process = host.start([sys.executable, "-c", LISTEN], os.environ, tmp_path, tmp_path / "listen.log")
    assert until(lambda: "up" in (tmp_path / "listen.log").read_text())
    return process


def test_hosts_reach_each_other_until_the_cable_is_pulled_and_end_with_the_block(network, tmp_path):
    with network as (one, other):
        listener = listen(other, tmp_path)
        assert until(lambda: reaches(one, other))
        assert until(lambda: other.runs("create_server")) and not one.runs("create_server") and other.writes("listen.log")
        other.cut()
        assert not reaches(one, other)
        other.mend()
        assert until(lambda: reaches(one, other))
        one.lose(other)
        assert not reaches(one, other)
        one.find(other)
        assert until(lambda: reaches(one, other))
        other.kill()
        assert listener.wait(30) == -9 and not other.processes()
        listen(one, tmp_path)
    assert network.left() == []


def test_an_error_leaves_no_host(network, tmp_path):
    with pytest.raises(KeyError), network as (one, _):
        listener = listen(one, tmp_path)
        raise KeyError
    assert listener.wait(30) == -9
    assert network.left() == []


def test_what_a_killed_run_has_left_is_removed_by_the_next(network):
    code = "import os; from tests.cluster.hosts import Network; Network(['a']).__enter__(); os.kill(os.getpid(), 9)"
    killed = subprocess.run([sys.executable, "-c", code])
    assert killed.returncode == -9
    remove_orphans()
    names = {path.name for path in hosts._NAMESPACES.glob("modelyard-*")}
    assert all(psutil.pid_exists(int(name.split("-")[1])) for name in names)
