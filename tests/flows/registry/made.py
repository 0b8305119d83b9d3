"""Candidates made by hand, on stores made by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.data.card import Card, Column, Split, write_card
from components.files import read_json, write_json
from flows.compose import compose
from flows.registry.candidate import Candidate
from flows.registry.promotion import promote, register
from flows.registry.versions import Registry, Version
from flows.store import Partial, Store
from tests.flows.stores import PROJECT, add_run, add_stage

VERDICT = {"passed": True, "gain": None, "findings": []}


def make_candidate(store: Store, name: str) -> Candidate:
    """A finished run of LeNet-5 whose weights are the word `name`."""
    data = {"name": "digits", "key": "digits", "content_sha256": "c" * 64, "dvc": {}}
    keys = {stage: add_stage(store, stage, name, content_sha256="c" * 64) for stage in ("check", "evaluate")}
    keys["data"] = _add_data(store)
    keys["train"] = add_stage(store, "train", name, checkpoint="checkpoints/best", checkpoint_sha256=name.ljust(64, "0"))
    folder = add_run(store, name, keys, overrides=[], git={"commit": None, "dirty": None}, checkpoint_sha256=name.ljust(64, "0"))
    write_json(folder / "run.json", {**read_json(folder / "run.json"), "data": data})
    done = {stage: store.read(stage, key) for stage, key in keys.items()}
    return Candidate(read_json(folder / "run.json"), compose(PROJECT), {k: v for k, v in done.items() if v is not None})


def _add_data(store: Store) -> str:
    parts = {"stage": "data"}
    with store.run("data", parts, on_wait=print) as partial:
        if isinstance(partial, Partial):
            card = Card("digits", "Digits", "none", "none", {}, {"targets": Column("int64")}, {"train": Split(1258, ())}, {})
            write_card(partial.directory, card)
            partial.outputs = {"content_sha256": "c" * 64}
    manifest = store.find("data", parts)
    assert manifest is not None
    return manifest.key


def export(candidate: Candidate, directory: Path, verdict: dict[str, Any]) -> None:
    """One file."""
    (directory / "model.safetensors").write_text(candidate.checkpoint_sha256)


def make_champion(store: Store, name: str, model: str = "digits") -> Version:
    """Register and promote a candidate over the present champion."""
    version = register(store, model, make_candidate(store, name), VERDICT, export)
    promote(store, version, Registry(store).champion(model), "a test", VERDICT)
    return version
