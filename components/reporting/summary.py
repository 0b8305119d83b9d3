"""The run in a few lines of Markdown, for the flow's artifact and the terminal."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from pathlib import Path

from components.reporting.run import Run, load
from components.reporting.text import NOTHING, duration, score
from components.reporting.verdict import Verdict, judge, scalars


def summary_markdown(run_directory: Path) -> str:
    """Return verdict, metrics and stages of a run as Markdown.

    Raises:
        UserError: run.json is missing, or a file of the directory cannot be read.
    """
    run = load(run_directory)
    verdict = judge(run)
    parts = [
        f"# {_text(run.record.get('run_id'))}",
        f"**{_text(verdict.sentence)}**",
        *_expectations(verdict),
        *_metrics(run),
        *_stages(run),
    ]
    best = run.summary.get("best")
    if best:
        parts.append(f"Best checkpoint: step {_text(best['step'])}, {_text(best['metric'])} = {score(best['value'])}.")
    return "\n\n".join(parts) + "\n"


def _expectations(verdict: Verdict) -> Iterable[str]:
    rows = [(wish.metric, wish.bound, _score(wish.value), "yes" if wish.met else "no") for wish in verdict.expectations]
    return [_table(("expected", "bound", "measured", "met"), rows)] if rows else []


def _metrics(run: Run) -> Iterable[str]:
    splits = list(run.metrics)
    rows = [(name, *(_score(values.get(split)) for split in splits)) for name, values in scalars(run).items()]
    return [_table(("metric", *splits), rows)] if rows else []


def _stages(run: Run) -> Iterable[str]:
    rows = [(name, stage.get("status", NOTHING), duration(stage.get("seconds"))) for name, stage in run.stages.items()]
    return [_table(("stage", "status", "time"), rows)] if rows else []


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_text(cell) for cell in line) + " |" for line in lines)


def _score(value: float | None) -> str:
    return NOTHING if value is None else score(value)


def _text(value: object) -> str:
    """Return text that Markdown shows as it is, on one line."""
    return html.escape(" ".join(str(value).split()), quote=False).replace("|", "\\|")
