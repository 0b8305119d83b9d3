"""Where the time went: stages, the parts of training, throughput."""

from __future__ import annotations

from components.reporting.charts import Series, line_chart
from components.reporting.journal import points, thinned
from components.reporting.run import Run
from components.reporting.sections.base import Section


def timing(run: Run) -> Section | None:
    """Return the seconds of each stage and of each part of training, each with its share, and samples per second over the steps."""
    stages = [
        {"name": name, "seconds": stage.get("seconds"), "status": stage.get("status"), "why": stage.get("why"), "key": stage.get("key")}
        for name, stage in run.stages.items()
    ]
    parts = [{"name": name.replace("_", " "), "seconds": seconds} for name, seconds in _parts(run).items()]
    if not stages and not parts:
        return None
    x, y = thinned(*points(run.journal.steps, "samples_per_second"))
    return Section(
        "timing",
        "Where the time went",
        {
            "stages": _with_shares(stages),
            "parts": _with_shares(parts),
            "summary": run.summary,
            "data_wait_share": data_wait_share(run),
            "throughput": line_chart("chart-throughput", "Samples per second", [Series("samples per second", x, y)]) if x else None,
        },
    )


def data_wait_share(run: Run) -> float | None:
    """Return the part of the training time in which the model waited for data, in [0, 1]; None when it was not measured."""
    seconds = _parts(run)
    total = sum(seconds.values())
    return seconds["data_wait"] / total if total and "data_wait" in seconds else None


def _parts(run: Run) -> dict[str, float]:
    """The seconds of each part of training; of one that is not divided, all of them."""
    seconds: dict[str, float] = run.summary.get("seconds") or {}
    return {name: value for name, value in seconds.items() if name != "total"} or seconds


def _with_shares(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    measured = [row["seconds"] for row in rows if isinstance(row["seconds"], int | float)]
    total = sum(measured)
    return [{**row, "share": row["seconds"] / total if total and isinstance(row["seconds"], int | float) else 0.0} for row in rows]
