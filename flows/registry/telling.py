"""W&B's registry is told who is champion: an order (flows/adapters/wandb_mirror.py) for each entry of the ledger that made a version champion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from components.files import read_object
from components.spec.parse import parse
from components.spec.schema import TrackingSpec
from flows.adapters.wandb_mirror import mirror, order_path
from flows.ledger import Entry
from flows.registry.versions import EXPORT, Registry, Version
from flows.tracking import tracking_id

Announce = Callable[[str], None]  # takes a line for the person who watches


def silent(line: str) -> None:
    """Nobody watches."""


def tell(registry: Registry, model: str, announce: Announce) -> None:
    """Give the order for the newest champion of a model, unless it was given: somebody may have been killed before he could.

    Never fails: who is champion does not hang on it.
    """
    try:
        entry = registry.history(model)[-1]
        if read_object(order_path(registry.store.root, model, entry.body["version"])).get("entry") == entry.number:
            return
        told = None
        while (entry := registry.history(model)[-1]).number != told:  # another may be told meanwhile, and the last that W&B hears must be right
            _give(registry, model, entry, announce)
            told = entry.number
    except Exception as error:
        announce(f"tracking: W&B is not told of the champion of {model}: {error}")


def _give(registry: Registry, model: str, entry: Entry, announce: Announce) -> None:
    version = registry.version(model, entry.body["version"])
    tracking = parse(TrackingSpec, version.record["spec"]["tracking"], "tracking")
    if put_off := mirror(tracking, registry.store.root, _order(version, entry)):
        announce(f"tracking: {put_off}")


def _order(version: Version, entry: Entry) -> dict[str, Any]:
    return {
        "model": version.model,
        "version": version.number,
        "entry": entry.number,
        "files": sorted(path for path in (version.directory / EXPORT).rglob("*") if path.is_file()),
        "metadata": {"run_id": version.run_id, "data": version.data, "metrics": version.metrics, "gain": entry.body.get("gain")},
        "aliases": ["champion"],
        "tracking_id": tracking_id(version.stages["train"]),
        "run_id": version.run_id,
    }
