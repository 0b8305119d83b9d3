"""Where a stack lies and how its parts reach each other: folder, ports, environment, Ray's token."""

from __future__ import annotations

import os
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path

from components.errors import UserError
from components.files import atomic_path, digest, read_object, write_json

MARK = "MODELYARD_STACK"  # in the environment of everything that a stack starts: its folder
POOL = "modelyard"
_HOST = "127.0.0.1"
_OF_SERVERS = ("PREFECT_SERVER_", "PREFECT_API_DATABASE_")
_NOT_FOR_CLIENTS = (*_OF_SERVERS, "PREFECT_API_URL", "RAY_ADDRESS", "RAY_AUTH_TOKEN")
_LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # at 0 Ray stays on 127.0.0.1; else it turns that into the host's address and serves everybody
CREDENTIALS, _CLIENT_AUTH = "PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING"


@dataclass(frozen=True)
class Ports:
    """Loopback ports: Prefect's API and pages, Ray's head, Ray's dashboard; `ray` is None for a stack without Ray."""

    prefect: int
    ray: int | None
    dashboard: int


@dataclass(frozen=True)
class Stack:
    """One stack.

    Args:
        folder: absolute; databases, logs, records of processes, Ray's token. For its owner alone.
        root: the project's folder, in which the flows run.
        ports: see there.
    """

    folder: Path
    root: Path
    ports: Ports

    @property
    def api_url(self) -> str:
        return f"http://{_HOST}:{self.ports.prefect}/api"

    @property
    def ray_address(self) -> str:
        return f"{_HOST}:{self.ports.ray}"

    @property
    def token(self) -> Path:
        return self.folder / "ray-token"

    @property
    def ray_temporary(self) -> Path:
        """Ray's sessions: not in the folder, whose path may be too long for a socket; not in /tmp/ray, where every cluster leaves its address."""
        return Path("/tmp") / f"modelyard-stack-{digest(str(self.folder), 8)}"

    def exports(self) -> dict[str, str]:
        """What a shell needs to use the stack; no secret among it, only where one lies."""
        ray = {"RAY_ADDRESS": self.ray_address, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.token), _LOOPBACK: "0"}
        return {"PREFECT_API_URL": self.api_url} | (ray if self.ports.ray is not None else {})

    def environment(self) -> dict[str, str]:
        """What the server's clients are started with, runs among them: its credentials, where `up` was given some, not its database."""
        env = {k: v for k, v in os.environ.items() if not k.startswith(_NOT_FOR_CLIENTS)}
        if CREDENTIALS in os.environ:
            env[_CLIENT_AUTH] = os.environ[CREDENTIALS]
        own = {"PREFECT_HOME": str(self.folder / "prefect"), "MODELYARD_PROJECT": str(self.root), MARK: str(self.folder)}
        path = f"{Path(sys.executable).parent}{os.pathsep}{env.get('PATH', os.defpath)}"
        return env | self.exports() | own | {"PATH": path, "DO_NOT_TRACK": "1", "PYTHONUNBUFFERED": "1"}

    def server_environment(self) -> dict[str, str]:
        """What the server is started with: Prefect's settings of a server too, such as its database and who may."""
        settings = {k: v for k, v in os.environ.items() if k.startswith(_OF_SERVERS)}
        return self.environment() | {"PREFECT_SERVER_ANALYTICS_ENABLED": "false"} | settings

    def prepare(self) -> None:
        """Make the folder, for its owner alone, with Ray's token in it; an existing token is kept."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        if self.ports.ray is not None and not self.token.exists():
            with atomic_path(self.token) as temporary:
                temporary.touch(0o600)
                temporary.write_text(secrets.token_hex(32))


def remember(stack: Stack) -> None:
    """Write down the ports, for `down` and `status`."""
    write_json(stack.folder / "stack.json", {"prefect": stack.ports.prefect, "ray": stack.ports.ray, "dashboard": stack.ports.dashboard})


def remembered(folder: Path, root: Path) -> Stack | None:
    """Return the stack that was last brought up in a folder; None when none was."""
    found = read_object(folder / "stack.json")
    return Stack(folder, root, Ports(found["prefect"], found["ray"], found["dashboard"])) if found else None


def require_same(wanted: Stack, running: Stack) -> None:
    """Refuse to bring up a stack in a folder where another one runs.

    Raises:
        UserError: the ports differ.
    """
    if wanted.ports != running.ports:
        raise UserError(
            "a stack with other ports runs in this folder",
            received=wanted.ports,
            expected=running.ports,
            mend=f"bring it down first (python -m infra.stack down --folder {running.folder}), or give another --folder",
        )
