"""What `modelyard sync` does: gives W&B what a store's runs could not give it, in the order in which it came about.

A W&B run whose pieces are all offline is replayed piece by piece by W&B's own `wandb sync --id`. That appends what it reads, so where the server may
have a part (an online run that was cut off, a replay that broke off), the tracker runs once more instead: it asks the server up to where it knows the
run, and logs the rest from the journal.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.errors import UserError
from components.files import read_json, read_object
from components.spec.schema import TrackingSpec
from flows.adapters import wandb_mirror
from flows.adapters.wandb import ENDED, ORDER, STOP, quiet, start, tracking_mode, wait_for, write_order
from flows.adapters.wandb_follow import require_answer
from flows.adapters.wandb_pieces import Piece, pieces
from flows.in_use import present_runs

_RUN_SECONDS = 900.0  # for one W&B run; its media files are small
_LOG_LINES = 3


@dataclass
class Outcome:
    """What was sent, left alone and not sent, by the id of a W&B run or the name of a promotion, each with a sentence."""

    sent: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def sync(store: Path, run_id: str | None, *, dry_run: bool, announce: Callable[[str], None]) -> Outcome:
    """Send what a store holds for W&B: runs first, then the promotions that name them.

    Args:
        store: the store's folder.
        run_id: one run of the store; all where it is None.
        dry_run: say what would be sent.
        announce: takes a line for the person who watches.

    Raises:
        UserError: there is no key, or no server answers.
    """
    groups = _groups(pieces(store / "runs"), run_id)
    orders = wandb_mirror.waiting(store, run_id)
    if not dry_run and (groups or orders):
        _require_server()
    outcome, going_on = Outcome(), present_runs(store)
    for identifier, found in groups.items():
        name = f"{found[-1].run_id} ({identifier})"
        if any(piece.run_id in going_on for piece in found):
            outcome.left[name] = "goes on; its own tracker ends it"
        elif dry_run:
            outcome.left[name] = f"would be sent: {', '.join(piece.directory.name for piece in _undelivered(found))}"
        else:
            announce(f"sync: {name}")
            _note(outcome, name, _send(found), "sent")
    for order in orders:
        if dry_run:
            outcome.left[order.stem] = "would be linked"
        else:
            announce(f"sync: promotion {order.stem}")
            _note(outcome, order.stem, wandb_mirror.carry_out(order, _RUN_SECONDS), "linked")
    return outcome


def _note(outcome: Outcome, name: str, complaint: str | None, done: str) -> None:
    if complaint is None:
        outcome.sent[name] = done
    else:
        outcome.failed[name] = complaint


def _groups(found: list[Piece], run_id: str | None) -> dict[str, list[Piece]]:
    """The pieces of each W&B run of which something is undelivered, in the order in which the runs were begun."""
    groups: dict[str, list[Piece]] = {}
    for piece in found:
        groups.setdefault(piece.identifier, []).append(piece)
    wanted = {i: g for i, g in groups.items() if run_id is None or any(piece.run_id == run_id for piece in g)}
    return {identifier: group for identifier, group in wanted.items() if _undelivered(group)}


def _undelivered(group: list[Piece]) -> list[Piece]:
    return [piece for piece in group if not piece.delivered]


def _require_server() -> None:
    """Raises UserError where there is no key, or nobody at W&B's address."""
    tracking_mode(TrackingSpec(mode="online"))
    try:
        require_answer(os.environ.get("WANDB_BASE_URL") or _default_address())
    except (OSError, ValueError) as error:
        mend = "mend the network, or name your own server in WANDB_BASE_URL; then sync again"
        raise UserError("W&B does not answer", received=error, mend=mend) from error


def _default_address() -> str:
    """Where W&B is, by its settings files."""
    import wandb

    address: str = wandb.setup().settings.base_url
    return address


def _send(group: list[Piece]) -> str | None:
    """Bring a W&B run to the server; returns a sentence where that did not come to its end."""
    waiting = _undelivered(group)
    full = [piece for piece in waiting if not (piece.offline and piece.empty)]
    lost = len(full) < len(waiting) and not any((piece.directory.parents[1] / ENDED).is_file() for piece in group)
    if not full or lost or not all(piece.untouched for piece in full):
        return _go_on(group)
    for piece in full:
        if complaint := _replay(piece):
            return complaint
    for piece in waiting:
        piece.mark("delivered")
    return None


def _replay(piece: Piece) -> str | None:
    """Have W&B replay a piece. It ends with code 0 whatever came of it, and leaves a file beside the log when it has read it to its end."""
    piece.mark("begun")
    command = [str(Path(sys.executable).parent / "wandb"), "sync", "--id", piece.identifier, str(piece.directory)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_RUN_SECONDS, env=quiet())
    except subprocess.TimeoutExpired:
        return f"W&B did not take {piece.directory.name} within {_RUN_SECONDS:g} s"
    if piece.log.with_suffix(".wandb.synced").is_file():
        return None
    told = [line for line in (done.stdout + done.stderr).splitlines() if "ERROR" in line or "WARNING" in line] or ["it does not say why"]
    return f"W&B did not take {piece.directory.name}: {' '.join(told[-_LOG_LINES:])}"


def _go_on(group: list[Piece]) -> str | None:
    """Let the tracker tell the server, from the journal, what it does not have yet."""
    directory = _ordered(group)
    if directory is None:
        return "what was to be tracked is no longer in the store"
    order = read_json(directory / ORDER)
    journal = (directory / order["journal"]).resolve()
    if not (journal.is_file() or (journal.parent.with_name(order["stage"]) / journal.name).is_file()):
        return "the server may have a part of it, and the training's journal, which has the rest, is no longer in the store"
    path = directory / "wandb-sync.json"
    write_order(TrackingSpec(project=order["project"], entity=order["entity"], finish_timeout_seconds=_RUN_SECONDS), path, _as_ordered(order))
    return wait_for(start("flows.adapters.wandb_follow", path, directory / "wandb.log"), _RUN_SECONDS)


def _as_ordered(order: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in order.items() if name not in ("project", "entity", "timeout_seconds", "parent")}
    return {**kept, "mode": "online", "after": "sync"}


def _ordered(group: list[Piece]) -> Path | None:
    """The run whose tracker was ordered to follow this training: the one that saw its end, else the last."""
    runs = [piece.directory.parents[1] for piece in group]
    known = [run for run in runs if read_object(run / ORDER).get("id") == group[0].identifier]
    ended = [run for run in known if read_object(run / STOP).get("exit_code") == 0]
    return (ended or known)[-1] if known else None
