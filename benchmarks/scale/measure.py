"""What the arithmetic of docs/scale.md starts from, measured on this machine: each function returns rows `{what, value, unit}`."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.project import ROOT, copy_project, timed
from benchmarks.store.generate import fill, finished_run
from components.data.card import Column, load_card
from components.data.columns import SourceData
from components.data.dataset import ShardDataset
from components.data.permutation import permutation
from components.data.prepare import write_data_set
from components.files import sha256_file, sha256_files
from components.training.checkpoint import Checkpoints, verify
from components.training.generators import generator_states
from flows.compose import compose, group_choices
from flows.cost.night import night
from flows.housekeeping.gc import collect_garbage
from flows.lineage.records import Records
from flows.lineage.verify import verify as verify_store
from flows.listing import list_runs
from flows.store import Store

Row = dict[str, Any]
REPEATS = 3
_MIB = 1 << 20
CPU = time.process_time  # which others' work on the machine does not lengthen


def row(what: str, value: float, unit: str) -> Row:
    return {"what": what, "value": value, "unit": unit}


def disk(folder: Path, mib: int = 256, files: int = 4, repeats: int = REPEATS) -> Iterator[Row]:
    """Hashing and checkpoints: a file's sha256, several files' at once, a save with its hashes and syncs, a verification."""
    content = os.urandom(_MIB)
    paths = [folder / f"{i}.bin" for i in range(files)]
    for path in paths:
        with open(path, "wb") as stream:
            for _ in range(mib // files):
                stream.write(content)
    yield row("sha256 on a core", mib / _median(repeats, lambda: [sha256_file(p) for p in paths], CPU), "MiB a second of CPU")
    yield row("sha256, one file after the other", mib / _median(repeats, lambda: [sha256_file(p) for p in paths]), "MiB/s")
    yield row(f"sha256, {files} files on {os.cpu_count()} cores", mib / _median(repeats, lambda: sha256_files(paths)), "MiB/s")
    weights = {"model": {str(i): torch.randn(mib // files * _MIB // 4) for i in range(files)}}
    checkpoints, steps = Checkpoints(folder / "checkpoints"), iter(range(1, 1000))

    def save() -> Path:
        return checkpoints.save(next(steps), weights, {}, {"value": None}, best=False)

    yield row("checkpoint saved: what a core does of it", mib / _median(repeats, save, CPU), "MiB a second of CPU")
    yield row("checkpoint saved (written, hashed, synced)", mib / _median(repeats, save), "MiB/s")
    saved = checkpoints.path("latest")
    assert saved is not None
    yield row("checkpoint verified before it is resumed", mib / _median(repeats, lambda: verify(saved)), "MiB/s")
    state = _bytes(generator_states(torch.device("cpu")))
    yield row("checkpoint verified: what a core does of it", mib / _median(repeats, lambda: verify(saved), CPU), "MiB a second of CPU")
    yield row("state that each rank adds to a checkpoint", state, "bytes")


def shards(folder: Path, count: int = 200, rows: int = 2_000_000, repeats: int = REPEATS) -> Iterator[Row]:
    """Opening many shards, and an epoch's order of many rows; CPU time."""
    definition = replace(compose(ROOT).data, shard_mib=1)
    columns = {"inputs": Column("uint8", (1, 1 << 19)), "targets": Column("int64")}
    splits = {n: {"inputs": np.zeros((c, 1, 1 << 19), np.uint8), "targets": np.zeros(c, np.int64)} for n, c in (("train", count), ("test", 2))}
    write_data_set(definition, SourceData(columns, splits), {}, folder / "many")  # type: ignore[arg-type]
    opened = len(load_card(folder / "many").splits["train"].shards)
    yield row(
        "a shard opened, of a dense column and a label",
        1e6 * _median(repeats, lambda: ShardDataset(folder / "many", "train"), CPU) / opened,
        "us of CPU",
    )
    yield row("a shard in card.json", (folder / "many" / "card.json").stat().st_size / opened, "bytes")
    yield row("a row of an epoch's order, on each rank", 1e9 * _median(repeats, lambda: permutation(rows, 0, 1), CPU) / rows, "ns of CPU")
    yield row("mapped files that the kernel allows a process", float(Path("/proc/sys/vm/max_map_count").read_text()), "files")


def store(folder: Path, sizes: tuple[int, ...] = (10, 100, 1000), repeats: int = REPEATS) -> Iterator[Row]:
    """What lists a store, and its ledger, in stores of that many runs of five stages; CPU time, which others' work does not lengthen."""
    project = copy_project(folder / "project")
    spec = compose(project, ["cluster=inline", "debug=fast", "tracking=disabled"])
    run = finished_run(project, spec, Store(project / "store"))
    experiments = group_choices(project / "conf", "experiment")
    for size in sizes:
        fill(run, size, experiments)
        looks: dict[str, Callable[[], object]] = {
            "runs list": lambda: list_runs(run.store, None),
            "gc (a look)": lambda: collect_garbage(project, run.store, 3, remove=False, announce=lambda line: None),
            "verify": lambda: verify_store(Records(project, run.store), lambda line: None),
            "cost --since": lambda: night(run.store, datetime.fromtimestamp(0, UTC)),
            "ledger read through": lambda: sum(1 for _ in run.store.ledger.entries()),
        }
        for name, look in looks.items():
            yield row(f"{name}, {size:,} runs", 1e3 * _median(repeats, look, CPU), "ms of CPU")
    entries = sum(1 for _ in run.store.ledger.entries())
    yield row("an entry of the ledger", run.store.ledger.path.stat().st_size / entries, "bytes")
    yield row("entries of the ledger a run", entries / sizes[-1], "entries")
    yield row("Ledger.append, with its two syncs", 1e3 * _median(20, lambda: run.store.ledger.append("benchmark", {"value": 1})), "ms")


def dvc(folder: Path, mib: int = 256, files: int = 2000) -> Iterator[Row]:
    """DVC adding one large file, and many small ones, to its cache; a start of DVC with nothing to do is taken off."""
    project = folder / "dvc"
    project.mkdir()
    for command in (["git", "init", "-q"], ["dvc", "init", "-q"]):
        timed(command, project)
    (project / "nothing.txt").write_text("x")
    start = timed(["dvc", "add", "-q", "nothing.txt"], project).cpu_seconds
    with open(project / "large.bin", "wb") as stream:
        for _ in range(mib):
            stream.write(os.urandom(_MIB))
    (project / "many").mkdir()
    for i in range(files):
        (project / "many" / f"{i}.txt").write_text(f"{i}")
    large, many = (timed(["dvc", "add", "-q", name], project).cpu_seconds - start for name in ("large.bin", "many"))
    yield row("DVC, starting", start, "s of CPU")
    yield row("DVC add of one large file", 1024 / mib * large, "s of CPU a GiB")
    yield row("DVC add of small files", 1e3 * many / files, "ms of CPU a file")


def _bytes(value: Any) -> int:
    """Of the tensors in nested plain data; the rest is small."""
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return sum(_bytes(part) for part in parts)


def _median(repeats: int, operation: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds of an operation, the median of some."""
    taken = []
    for _ in range(repeats):
        started = clock()
        operation()
        taken.append(clock() - started)
    return statistics.median(taken)


def in_scratch(measure: Callable[[Path], Iterator[Row]]) -> list[Row]:
    """Measure in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        return list(measure(Path(folder)))
