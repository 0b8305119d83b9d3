"""`modelyard verify`: is the whole store what was written down when it was made?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Any

from flows.ledger import Entry
from flows.lineage import checks
from flows.lineage.checks import Check
from flows.lineage.hashing import Hasher
from flows.lineage.records import Records
from flows.store import MANIFEST, RECORDED

_MARKS = ("pushed-", "unpushed-")  # files by which flows/exchange.py knows what the remote has


def verify(records: Records, announce: Callable[[str], None]) -> dict[str, Any]:
    """Hash a store again, all of it.

    Args:
        records: of the store.
        announce: takes a line now and then, while much is read.

    Returns:
        `{store, sound, complaints, notes, counts}`: a complaint is something that was changed or is missing, a note something to know.

    Raises:
        UserError: a part of the store was written by a newer modelyard.
    """
    hasher = Hasher(announce, _total_bytes(records))
    ledger = _ledger(records)
    of_stages = [c for stage, key in records.stages for c in checks.stage_checks(records, stage, key, hasher)]
    of_runs = [c for run_id in records.run_ids for c in _run(records, run_id, hasher)]
    found = list(dict.fromkeys([*ledger, *of_stages, *of_runs, *_unreadable_runs(records)]))  # a checkpoint is asked after by several runs
    notes = [f"{c.what}: {c.why}" for c in found if c.state == "unknown"]
    return {
        "store": str(records.store.root),
        "sound": not any(c.failed for c in found),
        "complaints": [f"{c.state}: {c.what}" + (f": {c.why}" if c.why else "") for c in found if c.failed],
        "notes": [*notes, *_backward(records.entries), *_beside(records)],
        "counts": {
            "entries": len(records.entries),
            "stages": len(records.folders),
            "removed": sum(records.removed(stage, key) is not None for stage, key in records.stages),
            "runs": len(records.runs),
            "files": hasher.files,
            "bytes": hasher.bytes,
        },
    }


def _total_bytes(records: Records) -> int:
    manifests = [records.manifest(stage, key) for stage, key in records.stages]
    return sum(entry.bytes for manifest in manifests if manifest is not None for entry in manifest.files.values())


def _ledger(records: Records) -> list[Check]:
    found = [Check("ledger.jsonl", "damaged", told) for told in records.store.ledger.complaints()]
    if not records.store.ledger.path.is_file() and any((folder / RECORDED).is_file() for folder in records.folders):
        found.append(Check("ledger.jsonl", "missing", "the stages say that they were entered in it"))
    return found


def _run(records: Records, run_id: str, hasher: Hasher) -> Iterator[Check]:
    account = records.account(run_id)
    yield checks.account_check(records, run_id)
    if records.removed_run(run_id):
        return
    if run_id in records.runs:
        yield checks.spec_check(records, run_id)
    if (patch := checks.patch_check(records, run_id, hasher)) is not None:
        yield patch
    if account.get("checkpoint_sha256") is not None:
        yield checks.checkpoint_check(records, run_id, hasher)


def _unreadable_runs(records: Records) -> Iterator[Check]:
    """Records of runs that never finished, so that the ledger does not know them, and that cannot be read."""
    for path in sorted(records.store.root.glob("runs/*/run.json")):
        if path.parent.name not in records.run_ids:
            yield Check(f"runs/{path.parent.name}/run.json", "damaged", "it cannot be read")


def _backward(entries: Iterable[Entry]) -> list[str]:
    """Order is by number, so a clock that was set back does no harm; but whoever reads dates should know."""
    return [
        f"the clock was set back between entries {a.number} ({a.at}) and {b.number} ({b.at}) of the ledger"
        for a, b in pairwise(entries)
        if b.at < a.at
    ]


def _beside(records: Records) -> list[str]:
    """What lies in the store and is vouched for by nobody."""
    aside = [f"{p.parent.name}/{p.name} was put aside as damaged" for p in sorted(records.store.root.glob("stages/*/*.damaged-*"))]
    extra = []
    for folder in records.folders:
        manifest = records.manifest(folder.parent.name, folder.name)
        if manifest is not None:
            known = {MANIFEST, RECORDED, *(manifest.files if manifest.directory == folder.resolve() else ())}
            more = [name for p in sorted(folder.rglob("*")) if p.is_file() and (name := p.relative_to(folder).as_posix()) not in known]
            extra += [f"{folder.parent.name}/{folder.name}/{name} is in no manifest" for name in more if not name.startswith(_MARKS)]
    return aside + extra


def verify_text(found: dict[str, Any]) -> str:
    """Return what was found for people, the worst last."""
    counts = found["counts"]
    read = f"{counts['files']} files, {counts['bytes'] / 2**20:,.1f} MiB, were hashed again"
    lines = [
        f"store {found['store']}",
        f"ledger {counts['entries']} entries, stages {counts['stages']} ({counts['removed']} removed since), runs {counts['runs']}; {read}",
    ]
    lines += [f"note: {told}" for told in found["notes"]]
    lines += found["complaints"]
    lines += ["nothing was changed, nothing is missing" if found["sound"] else f"{len(found['complaints'])} complaints: the store is not what it was"]
    return "\n".join(lines)
