"""A real S3 server on this machine (moto's), which counts what it is asked."""

from __future__ import annotations

import threading
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

SECRET = "only-the-environment-knows"


@dataclass
class S3:
    """The server; `asked` grows by "METHOD /path?query" a request."""

    endpoint: str
    asked: list[str] = field(default_factory=list)

    @property
    def env(self) -> dict[str, str]:
        """What the environment of a client must hold."""
        secrets = {"AWS_ACCESS_KEY_ID": "AKIAMODELYARDTEST", "AWS_SECRET_ACCESS_KEY": SECRET}
        return {**secrets, "AWS_ENDPOINT_URL": self.endpoint, "AWS_DEFAULT_REGION": "us-east-1"}

    def bucket(self) -> str:
        """Make an empty bucket and return its name."""
        name = f"bucket-{uuid.uuid4().hex[:8]}"
        urllib.request.urlopen(urllib.request.Request(f"{self.endpoint}/{name}", method="PUT")).close()
        return name

    def counts(self) -> dict[str, int]:
        """How many requests of each kind there were since the last time; a listing counts as LIST."""
        kinds = ["LIST" if "list-type" in request else request.partition(" ")[0] for request in self.asked]
        self.asked.clear()
        return {kind: kinds.count(kind) for kind in sorted(set(kinds))}


@contextmanager
def serve() -> Iterator[S3]:
    """Serve S3 for a `with` block."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    application = DomainDispatcherApplication(create_backend_app)

    def counting(environ: dict[str, Any], start: Any) -> Any:
        s3.asked.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}?{environ['QUERY_STRING']}")
        return application(environ, start)

    class Quiet(WSGIRequestHandler):
        def log_request(self, *_: object) -> None:
            pass

    server = make_server("127.0.0.1", 0, counting, threaded=True, request_handler=Quiet)
    s3 = S3(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield s3
    finally:
        server.shutdown()
        server.server_close()
