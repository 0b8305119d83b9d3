"""How fast and how large a model is: what a gate compares with a budget."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from components.export.answers import drawn
from components.export.load import PROGRAM, load, load_eager, verify
from components.export.program import load_program
from components.export.rows import open_unseen, take_rows

Batch = Mapping[str, Tensor]
Model = Callable[[Any], object]

_WARM_UP = 5


@torch.no_grad()
def compare_latencies(models: Mapping[str, Model], batch: Batch, repeats: int = 50, seconds: float = 5.0) -> dict[str, dict[str, float]]:
    """Time several models on one batch, in turns (A B A B ...), so that whatever else the machine does falls on all of them alike.

    Args:
        models: name -> what is called with the batch.
        batch: on the device where the models are.
        repeats: rounds after the warm-up.
        seconds: for all rounds; they end early, with at least three, when it is spent.

    Returns:
        Name -> `median`, `p95` and `minimum` in milliseconds, and `calls`. Beside other work the minimum is what moves least.
    """
    for _ in range(_WARM_UP):
        for model in models.values():
            _timed(model, batch)
    times: dict[str, list[float]] = {name: [] for name in models}
    end = time.perf_counter() + seconds
    for number in range(repeats):
        if number >= 3 and time.perf_counter() > end:
            break
        for name, model in models.items():
            times[name].append(_timed(model, batch))
    return {
        name: {"median": statistics.median(found), "p95": _percentile(found, 0.95), "minimum": min(found), "calls": len(found)}
        for name, found in times.items()
    }


def latency_milliseconds(model: Model, batch: Batch, repeats: int = 50, seconds: float = 5.0) -> dict[str, float]:
    """Time one model; see `compare_latencies`."""
    return compare_latencies({"": model}, batch, repeats, seconds)[""]


def count_bytes(directory: Path) -> dict[str, int]:
    """Return the size of each file of an export."""
    return {path.name: path.stat().st_size for path in sorted(directory.iterdir())}


def compare_exports(directories: Mapping[str, Path], data: Path, sizes: Sequence[int], seconds: float = 5.0) -> dict[str, dict[str, Any]]:
    """Measure several exports on rows of one data set, each by its program, or in Python where one of them has none.

    Args:
        directories: name -> export.
        data: a prepared data set whose columns all of them read.
        sizes: rows of a batch, such as 1 and the evaluation's.
        seconds: for each size, of all exports together.

    Returns:
        Name -> `latency_milliseconds` {rows: {median, p95, minimum, calls}}, `parameters`, `bytes` {file: bytes}, `runs` ("program" or "python").

    Raises:
        UserError: one is no export, or was changed.
    """
    described = {name: verify(directory) for name, directory in directories.items()}
    programs = all(_takes(one["program"], min(sizes), max(sizes)) for one in described.values())
    models = {name: load_program(directory / PROGRAM) if programs else load_eager(directory) for name, directory in directories.items()}
    result: dict[str, dict[str, Any]] = {
        name: {
            "latency_milliseconds": {},
            "parameters": one["parameters"],
            "bytes": count_bytes(directories[name]),
            "runs": "program" if programs else "python",
        }
        for name, one in described.items()
    }
    for size in sizes:
        batch = {name: value for one in directories.values() for name, value in raw_rows(one, data, size).items()}
        for name, found in compare_latencies(models, batch, seconds=seconds).items():
            result[name]["latency_milliseconds"][size] = found
    return result


def raw_rows(directory: Path, data: Path, count: int) -> dict[str, Tensor]:
    """Return rows of a data set's split that nobody trained on, spread over it, with the columns that an export reads."""
    _, task = load(directory)
    wanted = {one["name"] for one in verify(directory)["inputs"]}
    batch = {**take_rows(open_unseen(data), count), **drawn(task, count)}
    return {name: value for name, value in batch.items() if name in wanted}


def _takes(program: Mapping[str, Any], least: int, most: int) -> bool:
    limits = program["batch"]
    return limits is not None and limits["minimum"] <= least and (limits["maximum"] or most) >= most


def _timed(model: Model, batch: Batch) -> float:
    _wait(batch)
    started = time.perf_counter()
    model(batch)
    _wait(batch)
    return (time.perf_counter() - started) * 1e3


def _wait(batch: Batch) -> None:
    """A GPU answers before it is done."""
    for device in {value.device for value in batch.values() if value.is_cuda}:
        torch.cuda.synchronize(device)


def _percentile(values: list[float], share: float) -> float:
    """Return the smallest value that at least this share of the values do not exceed."""
    return sorted(values)[math.ceil(share * len(values)) - 1]
