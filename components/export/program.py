"""One program from raw columns to answers, by torch.export, for where torch alone is installed. Believed after it was loaded again and compared.

Legend: B batch.
"""

from __future__ import annotations

import io
import os
import tempfile
import warnings
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from components.errors import RunError
from components.export.answers import Eager
from components.tasks.base import Batch

# An operator may be lowered to another kernel in the program; float32 sums in another order differ by this much and no more.
RELATIVE, ABSOLUTE = 1e-4, 1e-5
_REASON_CHARACTERS = 300
OFFSETS = ".offsets"
Difference = dict[str, float]


def write_program(path: Path, eager: Eager, batches: list[Batch]) -> dict[str, Any]:
    """Write a program, load it again and compare its answers with the model's; where that fails, write nothing and say why.

    Args:
        path: of the .pt2 file.
        eager: what the program has to do.
        batches: real rows: the first is traced, on all of them the program is compared. A program whose number of rows is fixed by the model is
            compared on those of the first one's size.

    Returns:
        `file` (None: there is no program), `reason` (why not, or why not for any number of rows), `batch` {minimum, maximum} rows, `rows` that were
        compared, `equal` (to the bit), `difference` (the largest, by output), `tolerance`.
    """
    tolerance = {"relative": RELATIVE, "absolute": ABSOLUTE}
    told: dict[str, Any] = {"file": None, "reason": None, "batch": None, "rows": 0, "equal": None, "difference": {}, "tolerance": tolerance}
    for way in _ways(batches):
        if not way.batches:
            continue
        try:
            difference = _write_verified(path, eager, way.batches, way.dynamic)
        except Exception as error:  # torch.export raises many kinds; none of them may end an export whose weights are good
            told["reason"] = told["reason"] or _reason(error)  # of the first way, the one that was wanted
            continue
        rows = sum(map(count_rows, way.batches))
        return {**told, "file": path.name, "batch": way.limits, "rows": rows, "equal": not any(difference.values()), "difference": difference}
    return told


@dataclass(frozen=True)
class _Way:
    """One attempt: how many rows the program will take, and what it is compared on."""

    limits: dict[str, int | None]
    batches: list[Batch]
    dynamic: bool = True


def _ways(batches: list[Batch]) -> list[_Way]:
    """Any number of rows; more than one, where a single row takes another path; the traced number, where no column is ragged."""
    traced = count_rows(batches[0])
    several = [batch for batch in batches if count_rows(batch) > 1]
    ragged = any(name.endswith(OFFSETS) for name in batches[0])
    same = [] if ragged else [batch for batch in batches if count_rows(batch) == traced]
    return [
        _Way({"minimum": 1, "maximum": None}, batches),
        _Way({"minimum": 2, "maximum": None}, several if len(several) < len(batches) else []),
        _Way({"minimum": traced, "maximum": traced}, same, dynamic=False),
    ]


def _write_verified(path: Path, eager: Eager, batches: list[Batch], dynamic: bool) -> Difference:
    example = {name: value.clone() for name, value in batches[0].items()}  # a free dimension is marked on the tensor itself
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), torch.no_grad():
        warnings.simplefilter("ignore")  # and a program that cannot be traced is printed, line by line; what matters is in the exception
        program = torch.export.export(eager, (example,), dynamic_shapes=(_dynamic(example),) if dynamic else None, strict=False)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # this machine's folders are nobody's business
    with tempfile.TemporaryDirectory(prefix=".tmp-", dir=path.parent) as folder:
        written = Path(folder) / path.name  # the archive holds its own name: under this one equal programs are equal files
        torch.export.save(program, written)
        difference = _compare(load_program(written), eager, batches)
        os.replace(written, path)
    return difference


def load_program(path: Path) -> torch.nn.Module:
    """Load a program: a module from a dict of columns to a dict of outputs."""
    program: torch.nn.Module = torch.export.load(path).module()
    return program


def _dynamic(batch: Batch) -> dict[str, dict[int, Any]]:
    """Rows are free in every column, and so is the number of values of a ragged one."""
    return {name: {0: torch.export.Dim.DYNAMIC} for name in batch}


@torch.no_grad()
def _compare(program: torch.nn.Module, eager: Eager, batches: list[Batch]) -> Difference:
    """Return the largest difference of each output.

    Raises:
        RunError: one is above the tolerance, or of another shape or type.
    """
    largest: Difference = {}
    for batch in batches:
        found, wanted = program(batch), eager(batch)
        for name, value in wanted.items():
            if found[name].shape != value.shape or found[name].dtype != value.dtype:
                raise RunError(
                    f"the program's {name} is {found[name].dtype} {tuple(found[name].shape)}, the model's {value.dtype} {tuple(value.shape)}"
                )
            off = largest_difference(found[name], value)
            if not torch.allclose(found[name].double(), value.double(), RELATIVE if value.is_floating_point() else 0.0, ABSOLUTE, equal_nan=True):
                raise RunError(f"the program's {name} differs from the model's by up to {off:.3g} on {count_rows(batch)} rows")
            largest[name] = max(largest.get(name, 0.0), off)
    return largest


def largest_difference(first: Tensor, second: Tensor) -> float:
    """Return `max |a - b|` of two tensors of a shape; 0 where both are the same infinity or no number."""
    if torch.equal(first, second) or first.numel() == 0:
        return 0.0
    return float((first.double() - second.double()).abs().nan_to_num(0.0).max())


def count_rows(batch: Mapping[str, Tensor]) -> int:
    """Return the number of rows; a ragged column's values are no rows."""
    for name, value in batch.items():
        if name.endswith(OFFSETS):
            return len(value) - 1
    return len(next(iter(batch.values())))


def _reason(error: Exception) -> str:
    """The first lines of a message that may have hundreds."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines[:2])}"[:_REASON_CHARACTERS]
