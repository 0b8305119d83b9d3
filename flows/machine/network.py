"""Ports that are taken, and the Prefect server that runs are sent to."""

from __future__ import annotations

import socket
from pathlib import Path

from components.data.params import read_yaml
from components.errors import UserError
from components.training.doctor.finding import Finding
from flows.adapters.prefect import check_server
from flows.machine.machine import Machine

_PREFECT_PORT = 4200
_ANSWER_SECONDS = 3.0


def prefect_server(machine: Machine) -> Finding:
    """The server that PREFECT_API_URL names answers."""
    url = machine.environment.get("PREFECT_API_URL")
    if not url:
        return Finding("ok", "PREFECT_API_URL is not set: each run has a temporary server")
    check_server(url, _ANSWER_SECONDS)
    return Finding("ok", "the server that PREFECT_API_URL names answers")


def prefect_port(machine: Machine) -> Finding:
    """Prefect's own port is free, or Prefect has it."""
    port = int(machine.environment.get("PREFECT_SERVER_API_PORT") or _PREFECT_PORT)
    if _free(port):
        return Finding("ok", f"{port} is free")
    try:
        check_server(f"http://127.0.0.1:{port}/api", _ANSWER_SECONDS)
    except UserError:
        wanted = f"port {port} free or Prefect's: `prefect server start` would end at once"
        return Finding("warn", f"{port} is in use, not by Prefect", wanted, "end what listens there (`ss -ltnp`), or `prefect server start --port N`")
    return Finding("ok", f"a Prefect server answers on {port}" + ("" if machine.environment.get("PREFECT_API_URL") else "; no run is sent there"))


def dashboard_ports(machine: Machine) -> list[Finding]:
    """The ports that conf/cluster names for Ray's dashboard."""
    ports: dict[int, str] = {}
    for path in sorted((machine.root / "conf" / "cluster").glob("*.yaml")):
        port = _dashboard_port(path)
        if port is not None:
            ports.setdefault(port, path.stem)
    return [_dashboard(port, cluster) for port, cluster in ports.items()] or [Finding("ok", "no cluster of conf/cluster has one")]


def _dashboard(port: int, cluster: str) -> Finding:
    free = _free(port)
    return Finding(
        "ok" if free else "warn",
        f"{port} (cluster={cluster}) is {'free' if free else 'in use'}",
        f"port {port} free: a run with cluster={cluster} is refused, unless the dashboard is that cluster's own",
        "end what listens there, or cluster.dashboard_port=N; null for no dashboard",
    )


def _dashboard_port(path: Path) -> int | None:
    port = (read_yaml(path) or {}).get("dashboard_port")
    return port if isinstance(port, int) else None


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: what waits for a last packet is no hindrance
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
