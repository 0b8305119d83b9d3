"""Promotions in W&B: the promoted model as an artifact of the run that trained it, linked to a collection of the registry.

The order for it is a file of the store, `wandb/<model>-<version>.json`, and is carried out by `python -m flows.adapters.wandb_mirror ORDER.json`: at
once where W&B is online, else by `modelyard sync`. A promotion is done when the store says so; what W&B does can neither stall nor fail it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from components.errors import UserError
from components.files import read_json, read_object, write_json
from components.spec.schema import TrackingSpec
from flows.adapters.wandb import UNDELIVERED, leave, settle, start, tracking_mode, wait_for, write_order
from flows.adapters.wandb_pieces import pieces

ORDERS = "wandb"
REGISTRY = "wandb-registry-model"
_COUNTED = re.compile(r"v\d+")  # W&B counts so itself


def mirror(tracking: TrackingSpec, directory: Path, order: Mapping[str, Any]) -> str | None:
    """Tell W&B of a promotion. Never raises for what W&B does.

    Args:
        directory: the store's folder.
        order: `model` (its name, no slash), `version` (a number), `files` (paths in the store), `metadata` (plain data), `aliases` (`["champion"]`),
            `tracking_id` (of the W&B run that trained it, as its checkpoint's meta.json says), and, where there is one, `run_id` of the store's run
            and `entry`, the number of the ledger's entry that it is about.

    Returns:
        A sentence when it was put off until `modelyard sync`; None when it is done, or tracking is disabled.
    """
    with suppress(UserError):  # a broken key: the promotion is not to fail by it
        if tracking_mode(tracking) == "disabled":
            return None
    path = order_path(directory, order["model"], order["version"])
    files = [str(Path(file).resolve().relative_to(directory.resolve())) for file in order["files"]]
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    write_order(tracking, path, {**order, "files": files, "id": order["tracking_id"], "mode": "online", "ordered": at})
    with suppress(UserError):
        if tracking_mode(tracking) == "online":
            return carry_out(path, tracking.finish_timeout_seconds)
    return _put_off(order, "W&B is offline")


def order_path(directory: Path, model: str, version: int) -> Path:
    """Where the order for a version of a model lies in a store's folder; a newer one takes its place."""
    return directory / ORDERS / f"{model}-{version}.json"


def _put_off(order: Mapping[str, Any], why: str) -> str:
    return f"{why}: `modelyard sync` links {order['model']} version {order['version']} in W&B's registry"


def waiting(store: Path, run_id: str | None = None) -> list[Path]:
    """Return the orders of a store that are not carried out, in the order in which they were given."""
    told = {path: read_object(path) for path in (store / ORDERS).glob("[!.]*.json")}
    left = [path for path, order in told.items() if "done" not in order and (run_id is None or order.get("run_id") == run_id)]
    return sorted(left, key=lambda path: (told[path].get("ordered", ""), path.name))


def carry_out(path: Path, seconds: float) -> str | None:
    """Carry out an order, within so many seconds. Returns a sentence when it was not."""
    order = read_json(path)
    if any(not piece.delivered for piece in pieces(path.parents[1] / "runs", order["id"])):
        return _put_off(order, "the run that trained it is not at W&B yet")
    write_json(path, {**order, "timeout_seconds": seconds})
    complaint = wait_for(start("flows.adapters.wandb_mirror", path, path.with_suffix(".log")), seconds)
    return None if complaint is None else _put_off(order, complaint.partition(";")[0])


def main(path: Path) -> int:
    """Log the files of an order as an artifact of its run and link it. Returns the exit code."""
    import wandb

    order, store = read_json(path), path.parents[1]
    settings = wandb.Settings(
        console="off", silent=True, init_timeout=30.0, disable_git=True, disable_code=True, x_disable_stats=True, x_disable_meta=True
    )
    try:
        run = wandb.init(
            project=order["project"], entity=order["entity"], id=order["id"], dir=str(path.parent), resume="allow", mode="online", settings=settings
        )
        run.define_metric("*", step_metric="step")  # what is not said again is forgotten
        artifact = wandb.Artifact(order["model"], type="model", metadata=order["metadata"])
        for file in order["files"]:
            artifact.add_file(str(store / file), policy="immutable")  # W&B need not copy what a store holds
        aliases = [f"version-{order['version']}", *(name for name in order["aliases"] if not _COUNTED.fullmatch(name))]
        logged = run.log_artifact(artifact, aliases=aliases)
        logged.wait(timeout=int(order["timeout_seconds"]))
        run.link_artifact(logged, f"{REGISTRY}/{order['model']}", aliases=aliases)
        run.finish()
    except Exception as error:
        print(f"{order['model']} version {order['version']}: {error}", file=sys.stderr)
        return UNDELIVERED
    write_json(path, {**order, "done": datetime.now(UTC).isoformat(timespec="seconds")})
    return 0


if __name__ == "__main__":
    settle()
    leave(main(Path(sys.argv[1])))
