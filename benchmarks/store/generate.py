"""Stores of many runs, made in seconds: one run's stages as the pipeline commits them, the others copied from it under other keys."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from components.files import canonical_json, digest, read_json
from components.spec.schema import Spec
from flows.ledger import BEGINNING
from flows.run import PipelineRun
from flows.stages import STAGES, key_parts
from flows.store import MANIFEST, RECORDED, Manifest, Store

OUTPUTS: dict[str, dict[str, Any]] = {  # what later keys and the run's own record read
    "data": {"content_sha256": "c" * 64, "directory": "data/prepared/digits"},
    "train": {"checkpoint_sha256": "w" * 64, "checkpoint": "checkpoints/best"},
    "evaluate": {"metrics": {"test": {"accuracy": 0.9, "loss": 0.1}}},
    "report": {"report": "report.html"},
}
_FILES = 3


def opened(root: Path, spec: Spec, store: Store) -> PipelineRun:
    """Return a run of a specification on a store, as flows/open.py makes it."""
    return PipelineRun(root, spec, [], "benchmark", store, lambda line: None, lambda stage, directory: nullcontext())


def finished_run(root: Path, spec: Spec, store: Store) -> PipelineRun:
    """Commit five small stages under the specification's true keys, and take the run through its end."""
    done: dict[str, Manifest] = {}
    run = opened(root, spec, store)
    for stage in STAGES:
        parts = key_parts(stage, spec, done)
        with store.run(stage, parts, print) as partial:
            assert not isinstance(partial, Manifest), "the store is new"
            for i in range(_FILES):
                (partial.directory / f"{i}.txt").write_text(stage * 100)
            partial.outputs = OUTPUTS.get(stage, {})
        found = store.find(stage, parts)
        assert found is not None
        done[stage] = found
        store.enter(found, experiment=spec.experiment, run_id=run.run_id)
        store.note_last(stage, found.key, spec.experiment)
    assert run.reuse_all()
    return run


def fill(run: PipelineRun, runs: int, experiments: list[str]) -> None:
    """Bring the store to a number of finished runs, spread over experiments, by copies of one."""
    store = run.store
    account = read_json(run.directory / "run.json")
    bodies: list[tuple[str, dict[str, Any]]] = []
    for number in range(len(list((store.root / "runs").iterdir())), runs):
        experiment = experiments[number % len(experiments)]
        keys = {stage: digest([stage, number]) for stage in STAGES}
        for stage, key in keys.items():
            _copy_stage(run.done[stage], store.root / "stages" / stage / key)
        bodies += _copy_run(store.root, account, f"{experiment.replace('/', '-')}-{number:010x}", experiment, keys)
    _extend(store, bodies)


def _copy_stage(manifest: Manifest, folder: Path) -> None:
    source = manifest.directory
    folder.mkdir(parents=True)
    for name in manifest.files:
        (folder / name).write_bytes((source / name).read_bytes())
    (folder / MANIFEST).write_text((source / MANIFEST).read_text().replace(manifest.key, folder.name))
    (folder / RECORDED).write_bytes((source / RECORDED).read_bytes())


def _copy_run(root: Path, account: Mapping[str, Any], run_id: str, experiment: str, keys: Mapping[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Write run.json, decisions.json and the pointers of `last`; yield the run's ledger entries as (kind, body)."""
    stages = {stage: {**account["stages"][stage], "key": key} for stage, key in keys.items()}
    folder = root / "runs" / run_id
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({**account, "run_id": run_id, "experiment": experiment, "stages": stages}, indent=2))
    (folder / "decisions.json").write_text(json.dumps({"command": account["command"], "started": account["started"], "stages": stages}, indent=2))
    last = root / "last" / experiment
    if experiment != account["experiment"]:
        last.mkdir(parents=True, exist_ok=True)
        for stage, key in keys.items():
            (last / f"{stage}.json").write_text(json.dumps({"key": key}))
    for stage, key in keys.items():
        yield "stage", {"stage": stage, "key": key, "manifest_sha256": "m" * 64, "seconds": 1.0, "experiment": experiment, "run_id": run_id}
    told = {k: account[k] for k in ("spec_sha256", "git", "patch_sha256", "environment", "data", "checkpoint_sha256", "metrics")}
    yield "run", {"run_id": run_id, "experiment": experiment, **told, "stages": dict(keys)}


def _extend(store: Store, bodies: list[tuple[str, dict[str, Any]]]) -> None:
    """Append entries to the ledger as Ledger.append does, but for the sync to the disk after each."""
    last = None
    for last in store.ledger.entries():  # noqa: B007 - the last one counts
        pass
    number, previous, at = (0, BEGINNING, "") if last is None else (last.number, last.sha256, last.at)
    with open(store.ledger.path, "a", encoding="utf-8") as stream:
        for kind, body in bodies:
            number += 1
            plain = {"number": number, "at": at, "kind": kind, "body": body, "previous": previous}
            previous = hashlib.sha256(canonical_json(plain).encode()).hexdigest()
            stream.write(canonical_json({**plain, "sha256": previous}) + "\n")
    (store.root / "ledger.head").write_text(json.dumps({"number": number, "sha256": previous}))
