"""`python -m infra.ray.await_nodes N SECONDS`: wait until the cluster that RAY_ADDRESS names has N living nodes.

A script that starts a cluster calls it before the run: a run refuses at once what the cluster that it finds cannot hold.
"""

from __future__ import annotations

import sys
import time

_POLL_SECONDS = 1.0


def main(nodes: int, seconds: float) -> int:
    """Return 0 once there are so many nodes, 1 when there are not within so many seconds."""
    import ray

    deadline, living = time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        try:
            if not ray.is_initialized():
                ray.init(address="auto", logging_level="ERROR", log_to_driver=False)
            living = sum(node["Alive"] for node in ray.nodes())
        except (ConnectionError, RuntimeError):  # the head has not come up yet, or this machine's own node has not
            ray.shutdown()
        if living >= nodes:
            return 0
        time.sleep(_POLL_SECONDS)
    print(f"{living} of {nodes} Ray nodes after {seconds:g} s", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), float(sys.argv[2])))
