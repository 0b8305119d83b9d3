"""Promotion and the way back: a transaction whose one step that counts is a line of the ledger.

A version's directory is made whole under another name and renamed; then the ledger says that it is champion; then champion.json repeats it. Killed
before the ledger's line nothing has happened, and the same command takes up the version that lies there; killed after it, it has. W&B is told last,
and whoever finds that it was not makes up for it (flows/registry/telling.py).
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from components.errors import RunError, UserError
from components.files import write_json
from components.spec.parse import to_plain
from flows.exclusive import exclusive, replace_json
from flows.predict import rows_of
from flows.registry.candidate import Candidate
from flows.registry.telling import Announce, silent, tell
from flows.registry.versions import CHAMPION, EXPORT, FORMAT, RECORD, Registry, Version
from flows.store import Store

_LOCK = ".lock"


def register(
    store: Store, model: str, candidate: Candidate, verdict: dict[str, Any], export: Callable[[Candidate, Path, dict[str, Any]], Any]
) -> Version:
    """Make a candidate a version of a model, or return the version that it is already.

    Args:
        verdict: of the gate.
        export: what fails in it leaves no version.
    """
    registry = Registry(store)
    folder = registry.folder(model) / "versions"
    with exclusive(folder.parent / _LOCK):
        for left in folder.glob(".tmp-*"):  # of who was killed in here
            shutil.rmtree(left)
        known = registry.versions(model)
        for version in known:
            if version.checkpoint_sha256 == candidate.checkpoint_sha256 and version.run_id == candidate.run_id:
                return version
        number = known[-1].number + 1 if known else 1
        making = folder / f".tmp-{uuid.uuid4().hex[:8]}"
        (making / EXPORT).mkdir(parents=True)
        try:
            export(candidate, making / EXPORT, verdict)
            write_json(making / RECORD, _record(model, number, candidate, verdict))
            making.rename(folder / f"{number:04d}")
        finally:
            shutil.rmtree(making, ignore_errors=True)
    return registry.version(model, number)


def _record(model: str, number: int, candidate: Candidate, verdict: dict[str, Any]) -> dict[str, Any]:
    told = candidate.record
    return {
        "format": FORMAT,
        "model": model,
        "number": number,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "run_id": candidate.run_id,
        "experiment": candidate.spec.experiment,
        "overrides": told["overrides"],
        "git": told["git"],
        "spec": to_plain(candidate.spec),
        "stages": {name: manifest.key for name, manifest in candidate.done.items()},
        "data": told["data"],
        "rows": rows_of(candidate.done["data"]),
        "checkpoint_sha256": candidate.checkpoint_sha256,
        "metrics": told["metrics"],
        "gate": verdict,
    }


def promote(
    store: Store, version: Version, before: Version | None, because: str, verdict: dict[str, Any] | None, announce: Announce = silent
) -> bool:
    """Make a version champion, and tell W&B. Returns False where it is champion already.

    Args:
        before: the champion that the decision was made against.
        because: why, for the record.
        verdict: of the gate, now; that of the version may be older. None: it was champion before, and the present one is not wanted any more.
        announce: takes a line for the person who watches.

    Raises:
        RunError: another version has become champion meanwhile, so nothing was changed.
    """
    registry = Registry(store)
    changed = _enter(registry, version, before, because, verdict)
    tell(registry, version.model, announce)  # after the lock: it may take as long as W&B's server lets it
    return changed


def _enter(registry: Registry, version: Version, before: Version | None, because: str, verdict: dict[str, Any] | None) -> bool:
    """The promotion itself."""
    with exclusive(registry.folder(version.model) / _LOCK):
        now = registry.newest_alias(version.model)
        if now is not None and now["version"] == version.number:
            _repeat(registry, version.model, now)
            return False
        expected = None if before is None else before.number
        found = None if now is None else now["version"]
        if found != expected:
            raise RunError(
                f"version {found} became champion of {version.model} while version {expected} was compared with: run the same command again"
            )
        body = {
            "alias": version.model,
            "version": version.number,
            "before": expected,
            "run_id": version.run_id,
            "checkpoint_sha256": version.checkpoint_sha256,
            "because": because,
            "back": verdict is None,
            "passed": None if verdict is None else verdict["passed"],
            "gain": None if verdict is None else verdict["gain"],
        }
        registry.store.ledger.append("alias", body)
        _repeat(registry, version.model, body)
    return True


def _repeat(registry: Registry, model: str, body: dict[str, Any]) -> None:
    """Write champion.json; only under the model's lock."""
    told = {"version": body["version"], "entry": body, "ledger_bytes": registry.store.ledger.size()}
    replace_json(registry.folder(model) / CHAMPION, told)


def rollback(store: Store, model: str, number: int | None, because: str, announce: Announce = silent) -> Version:
    """Make an earlier version champion again; returns it.

    Args:
        number: which; None: the newest that was champion before and that nobody went back from.
        because: why, for the record.
        announce: takes a line for the person who watches.

    Raises:
        UserError: there is no champion, no version of that number, or none before; or it is champion already.
    """
    registry = Registry(store)
    champion = registry.champion(model)
    if champion is None:
        known = ", ".join(registry.models()) or "none yet"
        raise UserError(f"{model} has no champion", received=model, expected=f"a model of this store: {known}")
    number = _earlier(registry, champion) if number is None else number
    version = registry.version(model, number)
    if not promote(store, version, champion, because, None, announce):
        raise UserError(f"version {number} is the champion of {model} already")
    return version


def _earlier(registry: Registry, champion: Version) -> int:
    """The version to go back to from a champion: not to one that somebody went back from before, nor to one whose directory was removed."""
    unwanted = {champion.number} | registry.rejected(champion.model)
    known = {version.number for version in registry.versions(champion.model)} - unwanted
    before = [entry.body["version"] for entry in registry.history(champion.model) if entry.body["version"] in known]
    if not before:
        raise UserError(
            f"{champion.model} had no champion before version {champion.number} that nobody went back from",
            mend="`modelyard models` shows the versions, --to chooses one",
        )
    return int(before[-1])
