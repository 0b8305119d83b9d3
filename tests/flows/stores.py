"""Stores built by hand, for tests of what is done with runs and their stages."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from components.data.card import Card, Column, Split, write_card
from components.files import write_json
from flows.compose import compose
from flows.lease import this_process
from flows.stages import key_parts
from flows.store import Partial, Store

PROJECT = Path(__file__).parents[2]


def store_with_digits(root: Path) -> Store:
    """A store where the data stage of digits, 1,258 training rows, is done."""
    store = Store(root)
    with store.run("data", key_parts("data", compose(PROJECT), {}), on_wait=print) as partial:
        assert isinstance(partial, Partial)
        columns = {"inputs": Column("uint8", (1, 8, 8)), "targets": Column("int64")}
        write_card(partial.directory, Card("digits", "Digits", "none", "none", {}, columns, {"train": Split(1258, ())}, {}))
        partial.outputs = {"content_sha256": "c" * 64}
    return store


def add_stage(store: Store, name: str, made_from: Any, **outputs: Any) -> str:
    """Put a finished stage of 1,000 bytes into a store and return its key."""
    parts = {"stage": name, "made_from": made_from}
    with store.run(name, parts, on_wait=print) as partial:
        if isinstance(partial, Partial):
            (partial.directory / "output.bin").write_bytes(b"x" * 1000)
            partial.outputs = outputs
    manifest = store.find(name, parts)
    assert manifest is not None
    store.enter(manifest)
    return manifest.key


def add_run(store: Store, name: str, keys: dict[str, str], accuracy: float = 0.5, data: str = "digits", **record: Any) -> Path:
    """Put the record of a run of LeNet-5 into a store, finished unless `status` says otherwise, with the stages' keys."""
    directory = store.root / "runs" / f"cnn-lenet5-{name}"
    spec = {"data": {"name": data}, "expect": [{"metric": "test/accuracy", "minimum": 0.97}], "trainer": {"duration": "40ep"}}
    told = {
        "run_id": directory.name,
        "experiment": "cnn/lenet5",
        "status": "finished",
        "started": f"2026-11-21T10:00:{len(list(store.root.glob('runs/*'))):02}+00:00",
        "command": "modelyard run",
        "spec": spec,
        "metrics": {"test": {"accuracy": accuracy}},
        "stages": {stage: {"status": "ran", "seconds": 2.0, "key": key, "why": "never ran for this experiment"} for stage, key in keys.items()},
        **record,
    }
    write_json(directory / "run.json", told)
    if told["status"] == "finished":
        store.ledger.append("run", {"run_id": directory.name})
    return directory


def dead_lease(path: Path, **more: Any) -> None:
    """A lease whose holder, a process of this machine, is gone."""
    write_json(path, {**more, **asdict(replace(this_process(), token="dead", started=0)), "beat": 0})


def lease_elsewhere(path: Path, beat: int = 0, **more: Any) -> None:
    """A lease that a process of another machine writes."""
    write_json(path, {**more, **asdict(replace(this_process(), token="theirs", place="another machine", host="node-7")), "beat": beat})
