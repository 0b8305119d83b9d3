"""Prefect's REST API, the little that operations need of it: without Prefect's client, whose import costs seconds."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from typing import Any

from components.errors import RunError

_SECONDS = 60.0


class Api:
    """A Prefect server.

    Args:
        url: such as http://127.0.0.1:4200/api.
        credentials: `user:password` of a server that asks for them (its PREFECT_SERVER_API_AUTH_STRING), else None.
    """

    def __init__(self, url: str, credentials: str | None = None) -> None:
        self.url = url.rstrip("/")
        self._headers = {"Content-Type": "application/json"}
        if credentials:
            self._headers["Authorization"] = f"Basic {base64.b64encode(credentials.encode()).decode()}"

    def ask(self, method: str, path: str, body: Any = None, seconds: float = _SECONDS) -> Any:
        """Return the answer, plain data; None where there is no such thing (404) or nothing to say.

        Raises:
            RunError: the server does not answer, or refuses.
        """
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/{path}", data, self._headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=seconds) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            said = error.read(2000).decode(errors="replace")
            raise RunError(f"Prefect's server refused {method} {path}: HTTP {error.code} {said}") from error
        except OSError as error:
            raise RunError(f"Prefect's server at {self.url} does not answer: {error}") from error

    def healthy(self) -> bool:
        """Tell whether the server answers and takes these credentials."""
        try:
            return self.ask("GET", "health", seconds=5.0) is True
        except RunError:
            return False
