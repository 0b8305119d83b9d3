"""What we ask Ray Train to do beside its own: in its controller, and in each worker before the workers find each other.

Ray hands these objects to other processes, so they hold plain values. Their base classes are Ray's developer interface (Train V2).
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import psutil
from ray.train.v2._internal.execution.callback import ControllerCallback, WorkerCallback
from ray.train.v2._internal.execution.controller.state import ResizingState, RunningState

from components.errors import RunError
from components.files import write_json
from flows.adapters.ray import LEFT, RESIZE, failure

_POLL_SECONDS = 0.1


class OwnAddress(WorkerCallback):  # type: ignore[misc]
    """Gloo tells the others this host's name's address, which Debian's /etc/hosts has as 127.0.1.1: let it be that of the node instead."""

    def after_init_train_context(self) -> None:
        import ray.util

        if (name := interface(ray.util.get_node_ip_address())) is not None:
            os.environ.setdefault("GLOO_SOCKET_IFNAME", name)


def interface(address: str) -> str | None:
    """Return the name of the network interface of this host that has an address; None when none has."""
    found = [name for name, addresses in psutil.net_if_addrs().items() if any(a.address == address for a in addresses)]
    return found[0] if found else None


class SaveFirst(ControllerCallback):  # type: ignore[misc]
    """Before an elastic group is started again with other workers, those that there are save and leave.

    Args:
        mailbox: of the group (flows/adapters/ray.py).
        patience_seconds: after which they are ended all the same; the training goes on from its last checkpoint then.
    """

    def __init__(self, mailbox: Path, patience_seconds: float) -> None:
        self._resize, self._left, self._patience = mailbox / RESIZE, mailbox / LEFT, patience_seconds

    def after_controller_state_update(self, previous_state: Any, current_state: Any) -> None:
        if isinstance(current_state, ResizingState):
            self.ask()

    def ask(self) -> None:
        """Ask the workers to leave and wait until they have."""
        self._left.unlink(missing_ok=True)
        self._resize.touch()
        deadline = time.monotonic() + self._patience
        while not self._left.exists() and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        self._resize.unlink(missing_ok=True)  # before the next workers come


class GiveUp(ControllerCallback):  # type: ignore[misc]
    """Ray waits for ever for nodes that a group can run on; we do not.

    Args:
        mailbox: of the group.
        seconds: without a running group, after which the group fails.
        workers: that it waits for, in words.
    """

    def __init__(self, mailbox: Path, seconds: float, workers: str) -> None:
        self._mailbox, self._seconds, self._workers = mailbox, seconds, workers
        self._since: float | None = time.monotonic()

    def after_controller_state_update(self, previous_state: Any, current_state: Any) -> None:
        self.note(running=isinstance(current_state, RunningState) or current_state.is_terminal())

    def note(self, *, running: bool) -> None:
        """Note whether the group runs.

        Raises:
            RunError: it has not for too long; also written where the driver looks.
        """
        now = time.monotonic()
        self._since = None if running else self._since or now
        if self._since is not None and now - self._since > self._seconds:
            what = f"no {self._workers} could be started for {self._seconds:g} seconds (cluster.start_timeout_seconds): nodes are missing, or busy"
            error = RunError(f"{what}; `ray status` tells which. The same command continues where training stood")
            write_json(self._mailbox / "group.failed.json", failure(error, ""))
            raise error
