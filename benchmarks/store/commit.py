"""What the store adds to a stage that ends with a 50 MiB checkpoint, part by part."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from flows import store as store_module
from flows.lease import Lease
from flows.store import Manifest, Store

REPEATS = 5
CHECKPOINT_BYTES = 50 << 20
_PARTS: dict[str, tuple[Any, str]] = {  # what is timed where it is called
    "lease taken": (Lease, "__enter__"),
    "files hashed": (store_module, "sha256_files"),
    "manifest written": (store_module, "write_json"),
    "lease given back": (Lease, "__exit__"),
    "found again": (Store, "find"),
    "entered in the ledger": (Store, "enter"),
}


def measure(repeats: int = REPEATS, checkpoint_bytes: int = CHECKPOINT_BYTES) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return a row a part: milliseconds, median, least and greatest; and notes."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "store")
        rounds = [_commit(store, number, checkpoint_bytes) for number in range(repeats)]
    rows = [{"part": part, **_figures([1e3 * r[part] for r in rounds])} for part in rounds[0]]
    hashed = checkpoint_bytes / 2**20 / statistics.median(r["files hashed"] for r in rounds)
    return rows, {"unit": "ms", "checkpoint MiB": checkpoint_bytes / 2**20, "repeats": repeats, "hashed MiB/s": round(hashed)}


def _figures(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "least": min(values), "greatest": max(values)}


def _commit(store: Store, number: int, checkpoint_bytes: int) -> dict[str, float]:
    """Commit one stage and return the seconds of each part, of all the rest, and of the whole; the stage's own work is in none."""
    content, parts = os.urandom(checkpoint_bytes), {"stage": "train", "number": number}
    with ExitStack() as open_things:
        taken = {name: open_things.enter_context(_timed(owner, attribute)) for name, (owner, attribute) in _PARTS.items()}
        started = time.perf_counter()
        with store.run("train", parts, print) as partial:
            assert not isinstance(partial, Manifest)
            work = time.perf_counter()
            (partial.directory / "model.safetensors").write_bytes(content)
            (partial.directory / "meta.json").write_text("{}")
            worked = time.perf_counter() - work
        found = store.find("train", parts)
        assert found is not None
        store.enter(found, experiment="benchmark", run_id="benchmark")
        whole = time.perf_counter() - started - worked
    parts_seconds = {name: sum(seconds) for name, seconds in taken.items()}
    return {**parts_seconds, "the rest (folders, rename)": whole - sum(parts_seconds.values()), "whole": whole}


@contextmanager
def _timed(owner: Any, attribute: str) -> Iterator[list[float]]:
    """Note how long each call of a function takes while the block runs."""
    original: Callable[..., Any] = getattr(owner, attribute)
    seconds: list[float] = []

    def timed(*arguments: Any, **named: Any) -> Any:
        started = time.perf_counter()
        try:
            return original(*arguments, **named)
        finally:
            seconds.append(time.perf_counter() - started)

    setattr(owner, attribute, timed)
    try:
        yield seconds
    finally:
        setattr(owner, attribute, original)
