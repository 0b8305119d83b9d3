"""Prefect: its environment, and the server that PREFECT_API_URL names. The flow itself is flows/pipeline.py."""

from __future__ import annotations

import logging
import os
import urllib.error
import urllib.request

from components.errors import UserError

_DEFAULTS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # its own default of 30 s is too near to a first start's 13 s on two busy cores
    "PREFECT_LOGGING_EXTRA_LOGGERS": "flows",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",  # on the terminal our own lines say what happens
}


def set_environment() -> None:
    """Set what the user has not set. Must run before Prefect is imported."""
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    logging.getLogger("flows").setLevel(logging.INFO)


def require_server() -> None:
    """Check that the server which PREFECT_API_URL names is there and is Prefect; without the variable a temporary one is started later.

    Raises:
        UserError: nothing answers there, or something else does.
    """
    url = os.environ.get("PREFECT_API_URL")
    if not url:
        return
    mend = "start it with `prefect server start`, or unset PREFECT_API_URL to run on a temporary server"
    try:
        request = urllib.request.Request(f"{url.rstrip('/')}/health")
        with urllib.request.urlopen(request, timeout=5) as answer:
            body = answer.read(64).strip()
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):  # a server that wants credentials; Prefect's client has them
            return
        raise UserError(
            "what answers at PREFECT_API_URL is not a Prefect server", received=f"{url}: HTTP {error.code}", mend=mend
        ) from error
    except (OSError, ValueError) as error:
        raise UserError(f"no Prefect server answers: {error}", received=f"PREFECT_API_URL={url}", mend=mend) from error
    if body != b"true":
        raise UserError("what answers at PREFECT_API_URL is not a Prefect server", received=f"{url}: {body[:32]!r}", mend=mend)
