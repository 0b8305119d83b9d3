"""From a command line to an opened run: compose, check what can be checked before anything starts, open the store."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from components.errors import UserError
from components.spec.schema import ClusterSpec, Spec
from flows.adapters.ray import remove_orphans
from flows.compose import compose
from flows.lease import mark_this_process
from flows.project import project_root, require_writable
from flows.run import PipelineRun
from flows.store import Store

_CONNECT_SECONDS = 5.0


def open_run(
    overrides: Sequence[str],
    command: str,
    announce: Callable[[str], None] = lambda line: None,
    follow: Callable[[str, Path], Any] = lambda stage, directory: nullcontext(),
    part_of: str | None = None,
) -> PipelineRun:
    """Compose a specification and open its run.

    Args:
        overrides: Hydra overrides.
        command: how the run was asked for, for the record.
        announce: takes one line for the person who watches.
        follow: makes the context manager that shows a stage's progress.
        part_of: the id of the run that this one is a trial of.

    Raises:
        UserError: the configuration, the store, its remote, the tracker's key or the cluster's size is not as it must be.
    """
    root = project_root()
    spec = compose(root, list(overrides))
    store = open_store((root / spec.store).resolve(), spec.remote)
    require_writable(store.root)
    preflight(spec)
    mark_this_process()
    remove_orphans(store.mailboxes)
    return PipelineRun(root, spec, list(overrides), command, store, announce, follow, part_of)


def open_store(root: Path, remote: str | None) -> Store:
    """Open the store under a directory, with its remote if it has one; nobody is asked yet.

    Raises:
        UserError: the remote's URL is malformed, or its protocol is not known or not installed.
    """
    if remote is None:
        return Store(root)
    from flows.adapters.remote import Remote
    from flows.exchange import Exchange

    return Store(root, Exchange(root, Remote(remote)))


def find_store(folder: str | None) -> tuple[Path, Store]:
    """Return the project's folder and a store that is there: the given one, or the configuration's.

    Raises:
        UserError: there is no such folder.
    """
    root = project_root()
    path = (root / compose(root).store if folder is None else Path(folder)).resolve()
    if not path.is_dir():
        raise UserError("there is no store", received=path, mend="begin with `modelyard run`, or name another with --store FOLDER")
    return root, Store(path)


def preflight(spec: Spec) -> None:
    """Find what would fail minutes later. Cheap, and imports nothing heavy."""
    from flows.adapters.prefect import require_server
    from flows.adapters.wandb import tracking_mode

    tracking_mode(spec.tracking)
    require_server()
    if spec.cluster.backend == "ray":
        _require_local_resources(spec.cluster)
        _require_cluster(spec.cluster.address)
        _require_free_port(spec.cluster.dashboard_port)


def _require_local_resources(cluster: ClusterSpec) -> None:
    """For a cluster of our own the machine is the limit; a running cluster is asked when it is connected to."""
    from flows.adapters.ray import local_resources, require_resources

    if cluster.address is None:
        require_resources(cluster, local_resources(cluster))


def _require_cluster(address: str | None) -> None:
    """Ray itself would look for an absent head for minutes. `auto` is answered by Ray at once."""
    host, _, port = (address or "").rpartition(":")
    if not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise UserError(
            f"no Ray cluster answers: {error}",
            received=f"cluster.address={address}",
            mend="start one (`ray start --head`), or choose cluster=local",
        ) from error


def _require_free_port(port: int | None) -> None:
    if port is None:
        return
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UserError(
                "the port for Ray's dashboard is in use",
                received=f"cluster.dashboard_port={port}",
                mend="choose another port, or null for no dashboard",
            ) from error
