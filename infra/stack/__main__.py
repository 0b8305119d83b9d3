"""`python -m infra.stack up | down | status`."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from components.errors import RunError, UserError
from flows.project import project_root
from infra.stack import commands
from infra.stack.layout import Ports, Stack


def main() -> int:
    """Run one command; 0 when it is done (status: when all of the stack works), 1 when it failed, 2 when the input was wrong."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # put into the background by a shell it is ignored, here and in what is started
    root = project_root()
    parser = argparse.ArgumentParser(prog="python -m infra.stack", description="A Prefect server, a process worker and a Ray head on loopback.")
    parser.add_argument("command", choices=("up", "down", "status"))
    parser.add_argument("--folder", type=Path, default=root / ".stack", help="databases, logs, records, Ray's token (default: .stack in the project)")
    parser.add_argument("--prefect-port", type=int, default=4200)
    parser.add_argument("--ray-port", type=int, default=6379)
    parser.add_argument("--dashboard-port", type=int, default=8265)
    parser.add_argument("--no-ray", action="store_true", help="up without a Ray head: runs start a cluster of their own (cluster=local)")
    options = parser.parse_args()
    folder = options.folder.resolve()
    try:
        if options.command == "up":
            ports = Ports(options.prefect_port, None if options.no_ray else options.ray_port, options.dashboard_port)
            commands.up(Stack(folder, root, ports))
        elif options.command == "down":
            commands.down(folder, root)
        else:
            return 0 if commands.status(folder, root) else 1
    except (UserError, RunError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, UserError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
