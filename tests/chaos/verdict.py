"""What must be the same as in an undisturbed run, and what must not be left."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from components.files import read_json, sha256_file
from components.training import journal
from flows.adapters.wandb_pieces import pieces
from flows.stages import SEARCHED
from flows.store import MANIFEST, Store
from flows.tracking import tracking_id
from tests.chaos.arena import Arena, Attempt

PATIENCE_SECONDS = 30.0  # for what dies with its driver, in a second or two where nothing else runs
_DVC = {"btime", "lock", "rwlock", "rwlock.lock", "modelyard-params.lock", "modelyard-repro.lock"}  # its folder's usual content, and our locks
# Figures of the journal that no two runs have in common, and those of the watch, which looks at the steps of one process in one epoch.
_TIMED = re.compile(r"seconds|_per_second|memory|share|mfu|^watch/")


@dataclass(frozen=True)
class Facts:
    """What a finished run is compared by."""

    weights_sha256: str  # of the best checkpoint's safetensors
    content_sha256: str  # of the data, as its card says
    metrics_sha256: str  # of evaluate's metrics.json
    metrics: dict[str, Any]
    steps: list[dict[str, Any]]  # every record of steps and epochs, to the last digit: another sample, or another order, gives another loss
    progress: tuple[int, int, int]  # of the last checkpoint: steps, epochs, samples of the next epoch
    keys: dict[str, list[str]]  # of each stage; of the train stage, those of a search's trials
    tracker_ids: set[str]

    @classmethod
    def of(cls, root: Path, result: dict[str, Any]) -> Facts:
        """Look at a finished run in a project's folder; `result` is what it printed."""
        where = {name: Path(stage["directory"]) for name, stage in result["stages"].items()}
        train, checkpoint = where["train"], Path(result["checkpoint"])
        latest = read_json(train / "checkpoints" / (train / "checkpoints" / "latest").read_text().strip() / "meta.json")
        return cls(
            weights_sha256=sha256_file(checkpoint / "model.safetensors"),
            content_sha256=read_json(root / "data" / "prepared" / "digits" / "card.json")["content_sha256"],
            metrics_sha256=sha256_file(where["evaluate"] / "metrics.json"),
            metrics=result["metrics"],
            steps=[_untimed(r) for r in journal.read(train / "metrics.jsonl") if r["kind"] in ("step", "epoch")],
            progress=(latest["step"], latest["epoch"], latest["samples"]),
            keys=stage_keys(root / "store"),
            tracker_ids={piece.identifier for piece in pieces(root / "store" / "runs")},
        )


def stage_keys(store: Path) -> dict[str, list[str]]:
    """Return the keys of each stage's finished ones."""
    return {stage.name: sorted(m.parent.name for m in stage.glob(f"*/{MANIFEST}")) for stage in sorted((store / "stages").iterdir())}


def _untimed(record: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in record.items() if not _TIMED.search(k)}


def sound(facts: Facts) -> Iterator[str]:
    """Say what is wrong with a run of the matrix's command, on its own: steps and epochs each once, one tracker run under the rule's id."""
    steps = [r["step"] for r in facts.steps if r["kind"] == "step"]
    epochs = [(r["epoch"], r["step"]) for r in facts.steps if r["kind"] == "epoch"]
    if steps != list(range(1, 41)):
        yield f"the journal's steps are {steps}"
    if epochs != [(1, 20), (2, 40)] or facts.progress != (40, 2, 0):
        yield f"epochs (number, last step) are {epochs}, the last checkpoint's (step, epochs, samples) {facts.progress}"
    if facts.tracker_ids != {tracking_id(key) for key in facts.keys["train"]}:
        yield f"tracker ids {facts.tracker_ids}"


def complaints(arena: Arena, reference: Facts, finished: set[str], last: Attempt) -> Iterator[str]:
    """Say what differs from the undisturbed run, ran twice, or is left.

    Args:
        reference: of the undisturbed run.
        finished: the stages that were finished before the last attempt.
        last: the last attempt.
    """
    if last.code != 0:
        yield f"the last attempt ended with {last.code}: {' / '.join(last.output.splitlines()[-3:])[-400:]}"
    else:
        facts = Facts.of(arena.root, last.result)
        yield from sound(facts)
        different = [f.name for f in fields(Facts) if getattr(facts, f.name) != getattr(reference, f.name)]
        if different:
            yield f"other than undisturbed: {', '.join(different)}"
        yield from [f"{now} instead of {then}" for now, then in zip(facts.steps, reference.steps, strict=False) if now != then][:1]
        again = [name for name in finished if last.result["stages"][name]["status"] != "reused"]
        if again:
            yield f"finished, but ran again: {', '.join(again)}"
        yield from ledger_complaints(arena.root / "store", reference.keys)
    if left := arena.left_running(PATIENCE_SECONDS):
        yield f"still running: {left}"
    if files := leftovers(arena):
        yield f"left: {', '.join(sorted(files))}"


def ledger_complaints(store: Path, expected: dict[str, list[str]]) -> Iterator[str]:
    """Say where a ledger's stages are not each entered once, its run not once, or its chain is broken."""
    ledger = Store(store).ledger
    yield from ledger.complaints()
    entries = list(ledger.entries())
    keys = Counter((e.body["stage"], e.body["key"]) for e in entries if e.kind == "stage")
    if keys != Counter((stage, key) for stage, found in expected.items() for key in found):
        yield f"stages in the ledger: {dict(keys)}"
    if (runs := sum(e.kind == "run" for e in entries)) != 1:
        yield f"{runs} runs in the ledger"


def finished_stages(store: Path) -> set[str]:
    """Return the stages that are finished: committed, or with nothing but the rename left to do."""
    return {
        stage for stage in SEARCHED for manifest in (store / "stages" / stage).glob(f"*/{MANIFEST}") if _whole(store, stage, manifest.parent.name)
    }


def _whole(store: Path, stage: str, key: str) -> bool:
    return Store(store)._load(stage, key) is not None


def leftovers(arena: Arena) -> set[str]:
    """Return what lies where nothing should be left: in the store, among the data, in DVC's folders, where temporary files go."""
    root, store = arena.root, arena.root / "store"
    found = [p for pattern in (".tmp-*", "*.partial", "*.damaged-*") for p in store.rglob(pattern)]
    found += [*store.glob("mailboxes/*"), *store.glob("leases/*.json")]
    found += [p for folder in ("data", ".dvc/cache") for pattern in ("*.tmp", ".tmp-*") for p in (root / folder).rglob(pattern)]
    found += [p for p in (root / ".dvc" / "tmp").iterdir() if p.name not in _DVC]
    found += [p for p in (arena.folder / "tmp").iterdir() if not p.name.startswith("torchinductor_")]
    rwlock = root / ".dvc" / "tmp" / "rwlock"
    held = {".dvc/tmp/rwlock holds locks"} if rwlock.is_file() and read_json(rwlock) else set()
    return held | {str(p.relative_to(arena.folder)) for p in found}
