"""Ports with somebody behind them."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from components.errors import UserError
from flows.machine import network
from tests.flows.machine.conftest import free_port, listening, one


class _Health(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/api/health" else 404)
        self.end_headers()
        self.wfile.write(b"true")

    def log_message(self, *arguments):
        pass


@contextmanager
def prefect():
    """What answers as Prefect's server does."""
    server = HTTPServer(("127.0.0.1", 0), _Health)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_prefect_s_port_in_others_hands(having):
    with listening() as port:
        assert f"{port} is in use, not by Prefect" in one(network.prefect_port(having(PREFECT_SERVER_API_PORT=str(port))), "warn").found
    assert "is free" in one(network.prefect_port(having(PREFECT_SERVER_API_PORT=str(port))), "ok").found


def test_prefect_s_port_in_prefect_s_hands(having):
    with prefect() as port:
        assert "no run is sent there" in one(network.prefect_port(having(PREFECT_SERVER_API_PORT=str(port))), "ok").found
        machine = having(PREFECT_API_URL=f"http://127.0.0.1:{port}/api")
        assert "answers" in one(network.prefect_server(machine), "ok").found


def test_a_server_that_does_not_answer(having):
    with pytest.raises(UserError, match="no Prefect server answers"):
        network.prefect_server(having(PREFECT_API_URL=f"http://127.0.0.1:{free_port()}/api"))


def test_the_dashboard_s_ports_are_those_of_the_clusters(machine):
    (machine.root / "conf/cluster/hpo.yaml").write_text("backend: ray\n")
    assert "no cluster" in one(network.dashboard_ports(machine), "ok").found
    with listening() as port:
        (machine.root / "conf/cluster/hpo.yaml").write_text(f"backend: ray\ndashboard_port: {port}\n")
        assert f"{port} (cluster=hpo) is in use" in one(network.dashboard_ports(machine), "warn").found
    one(network.dashboard_ports(machine), "ok")
