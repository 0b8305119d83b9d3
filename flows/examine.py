"""Looking at a system before it is trained: the doctor and the finders. One process, no tracking, and no stage but data is committed."""

from __future__ import annotations

import importlib
import textwrap
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from components.errors import UserError
from components.spec.parse import to_plain
from components.spec.schema import Spec
from flows.account import StageResult
from flows.open import open_run
from flows.run import PipelineRun
from flows.store import Manifest

FUNCTIONS = {
    "doctor": "components.training.doctor.job",
    "find_learning_rate": "components.training.finders",
    "find_batch_size": "components.training.finders",
}
_MARKS = {"ok": "ok", "warn": "warn", "fail": "FAIL", "skipped": "-"}
_WIDTH, _INDENT = 110, 8
_TABLE_ROWS = 24


class Unrecorded(PipelineRun):
    """A run that leaves no record: it is no run, and must not stand as the newest one of its experiment."""

    def _record(self, status: str, running: dict[str, StageResult] | None = None) -> None:
        pass

    def _attempted(self, name: str, key: str, token: str) -> AbstractContextManager[None]:
        return nullcontext()


def newest_data(opened: PipelineRun) -> Manifest:
    """Get the data stage of a run done, or reuse it, and nothing else."""
    with Unrecorded(opened.root, opened.spec, opened.overrides, opened.command, opened.store, opened.announce, opened.follow) as run:
        run.stage("data")
        return run.done["data"]


def examine(function: str, overrides: Sequence[str], announce: Callable[[str], None] = lambda line: None) -> dict[str, Any]:
    """Get the data stage done, or reuse it, and call `function(session, {"spec": plain, "data": directory})` in this process.

    Args:
        function: a name in FUNCTIONS.
        overrides: Hydra overrides.
        announce: takes one line for the person who watches.

    Returns:
        What the function gives, plain data.

    Raises:
        UserError: the configuration or the data set is not as it must be.
    """
    opened = open_run(overrides, f"modelyard {function}", announce)
    if opened.spec.procedure is not None:
        raise UserError(
            f"{function} looks at gradient steps, and this experiment makes none",
            received=f"experiment={opened.spec.experiment}, fitted by {opened.spec.procedure.name}",
            expected="an experiment without `procedure`",
        )
    return _call(function, opened.spec, newest_data(opened))


def _call(function: str, spec: Spec, data: Manifest) -> dict[str, Any]:
    import torch

    from components.training.session import LocalSession

    look = getattr(importlib.import_module(FUNCTIONS[function]), function)
    device = torch.device("cuda" if spec.cluster.gpus_per_worker else "cpu")
    result: dict[str, Any] = look(LocalSession(device), {"spec": to_plain(spec), "data": str(data.directory)})
    return result


def doctor_text(result: dict[str, Any]) -> str:
    """The doctor's findings as a table; what warns or fails says what was expected and how to mend it."""
    width = max(len(row["name"]) for row in result["checks"])
    lines = []
    for row in result["checks"]:
        lines.append(f"{_MARKS[row['status']]:<5} {row['check']:<12} {row['name']:<{width}}  {row['found']}")
        if row["status"] in ("warn", "fail"):
            lines += [_wrapped("expected: ", row["expected"]), _wrapped("to mend:  ", row["mend"])]
    counts = ", ".join(f"{sum(row['status'] == status for row in result['checks'])} {status}" for status in _MARKS)
    return "\n".join([*lines, f"\n{counts}; {result['seconds']:.1f} s"])


def _wrapped(head: str, text: str) -> str:
    return textwrap.fill(text, _WIDTH, initial_indent=" " * _INDENT + head, subsequent_indent=" " * (_INDENT + len(head)))


def found_text(result: dict[str, Any]) -> str:
    """What a finder found: a line a value, a table for a list of rows; long curves are left to `--json`."""
    lines = []
    for name, value in result.items():
        if isinstance(value, list) and 0 < len(value) <= _TABLE_ROWS and isinstance(value[0], dict):
            lines += [f"{name}:", "  " + "  ".join(f"{key:>18}" for key in value[0])]
            lines += ["  " + "  ".join(f"{_figure(cell):>18}" for cell in row.values()) for row in value]
        elif not isinstance(value, (list, dict)):
            lines.append(f"{name}: {_figure(value)}")
    return "\n".join(lines)


def _figure(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
