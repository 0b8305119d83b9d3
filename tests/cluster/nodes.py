"""A Ray cluster over hosts: a head that trains nothing, and nodes that join it; each with its own folder, all with one token."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from pathlib import Path

from tests.cluster.hosts import Host
from tests.processes import until

PORT = 6379
_START_SECONDS = 600.0  # a node needs ten where nothing else runs, and more than two minutes at a load of sixty on two processors
_STORE_BYTES = 80 << 20  # Ray's least is 75 MiB
# How soon the head notices that a host is silent (docs/cluster.md): asked every second, given up after three unanswered questions of four seconds.
HEALTH = {
    "RAY_health_check_initial_delay_ms": "5000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "4000",
    "RAY_health_check_failure_threshold": "3",
}


class Cluster:
    """Args:
    folder: with a short name: Ray's sockets lie in it.
    project: every node's working directory, and where its workers find the code.
    env: of every node and of the driver, beside what is set here.
    """

    def __init__(self, folder: Path, project: Path, env: dict[str, str]) -> None:
        self.folder, self.project = folder, project
        token = folder / "token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32))
        self.env = env | HEALTH | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "PYTHONPATH": str(project), "OMP_NUM_THREADS": "1"}
        self.head: Host | None = None
        self._nodes: dict[str, tuple[subprocess.Popen[bytes], tuple[str, ...]]] = {}  # of each host: what holds its node, and the options of that

    @property
    def address(self) -> str:
        assert self.head is not None
        return f"{self.head.address}:{PORT}"

    def start(self, head: Host) -> None:
        """Start the head: it holds the cluster's state, the driver and Ray Train's controller, and has no CPU to train on."""
        self.head = head
        self._ray(head, "--head", f"--port={PORT}", "--num-cpus=0", "--include-dashboard=false")

    def join(self, host: Host) -> None:
        """Have a host join with one CPU."""
        self._ray(host, f"--address={self.address}", "--num-cpus=1")

    def _ray(self, host: Host, *options: str) -> None:
        own = self.folder / host.name.rpartition("-")[2]
        own.mkdir(exist_ok=True)
        ray = str(Path(sys.executable).with_name("ray"))
        common = [
            f"--node-ip-address={host.address}",
            f"--temp-dir={own}",
            f"--object-store-memory={_STORE_BYTES}",
            "--disable-usage-stats",
            "--block",
        ]
        process = host.start([ray, "start", *options, *common], self.env, self.project, self.folder / f"{own.name}.log")
        self._nodes[host.name] = process, options

    def drain(self, host: Host, seconds: int) -> None:
        """Tell Ray that a host will be taken away in so many seconds, as an autoscaler or KubeRay does."""
        self._on_head(_DRAIN, host.address, str(seconds)).check_returncode()

    def alive(self) -> list[str]:
        """Return the addresses of the nodes that the head believes to be alive."""
        asked = self._on_head(_ALIVE)
        return sorted(json.loads(asked.stdout)) if asked.returncode == 0 else []

    def _on_head(self, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        assert self.head is not None
        command = ["ip", "netns", "exec", self.head.name, sys.executable, "-c", code, self.address, *arguments]
        return subprocess.run(command, cwd=self.project, env=self.env, capture_output=True, text=True, timeout=_START_SECONDS)

    def wait_for(self, hosts: list[Host]) -> None:
        """Wait until the head believes these hosts to be alive, and no others."""
        wanted = sorted(h.address for h in hosts)

        def there() -> bool:
            for host in hosts:  # `ray start` gives up after thirty seconds, which a busy machine may need
                process, options = self._nodes[host.name]
                if process.poll() is not None:
                    host.kill()
                    self._ray(host, *options)
            return self.alive() == wanted

        assert until(there, _START_SECONDS, pause_seconds=0.5), f"nodes {self.alive()} instead of {wanted}"


_ALIVE = """
import json
import sys
from ray._raylet import GcsClient
nodes = GcsClient(address=sys.argv[1]).get_all_node_info(timeout=20).values()
print(json.dumps([n.node_manager_address for n in nodes if n.state == 0]))
"""

_DRAIN = """
import sys
import time
from ray._raylet import GcsClient
from ray.core.generated.autoscaler_pb2 import DrainNodeReason
client, (_, gcs, address, seconds) = GcsClient(address=sys.argv[1]), sys.argv
(node,) = [n.node_id for n in client.get_all_node_info(timeout=20).values() if n.node_manager_address == address and n.state == 0]
until = int((time.time() + int(seconds)) * 1000)
accepted, reason = client.drain_node(node.hex(), DrainNodeReason.DRAIN_NODE_REASON_PREEMPTION, "the test takes it away", until)
sys.exit(0 if accepted else reason)
"""
