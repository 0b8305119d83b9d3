"""Folds: what each measured, and their mean and deviation."""

from __future__ import annotations

import statistics
from typing import Any

from markupsafe import Markup

from components.reporting.charts import INK, LINE, MUTED, SERIES, canvas, to_svg
from components.reporting.run import Plain
from components.reporting.sections.base import Section
from components.reporting.text import number, score


def folds(found: Plain) -> Section:
    """Return a chart of what the folds are judged by, and a table a split of all that they measured.

    Args:
        found: `data` (its title), `headline` (`split/name`), `runs` [{value (which fold), run_id, metrics}] and `spread`
            {split: {metric: {mean, deviation, minimum, maximum}}}.
    """
    tables = [_table(found, split) for split in found["spread"]]
    return Section("folds", "Folds", {"intro": _intro(found), "charts": [_chart(found)], "tables": [*tables, _runs(found)]}, template="figures")


def headline_tiles(found: Plain) -> list[tuple[str, float]]:
    """Return the numbers that stand large on top."""
    figures = _headline(found)
    return [(f"{found['headline']}, {part}", figures[part]) for part in ("mean", "deviation", "minimum", "maximum")]


def _headline(found: Plain) -> Plain:
    split, _, name = found["headline"].partition("/")
    figures: Plain = found["spread"][split][name]
    return figures


def _values(found: Plain) -> list[float]:
    split, _, name = found["headline"].partition("/")
    return [run["metrics"][split][name] for run in found["runs"]]


def _intro(found: Plain) -> str:
    figures = _headline(found)
    return (
        f"{len(found['runs'])} folds of {found['data']}, each tested by a model that was trained without it: {found['headline']} "
        f"{number(figures['mean'])} ± {number(figures['deviation'])}, mean and deviation of a sample (n - 1)."
    )


def _table(found: Plain, split: str) -> Plain:
    """One row a metric; the folds stand beside each other."""
    columns = [split, "mean", "deviation", *(f"fold {run['value']}" for run in found["runs"])]
    rows: list[list[Any]] = [
        [name.replace("_", " "), figures["mean"], figures["deviation"], *(run["metrics"][split][name] for run in found["runs"])]
        for name, figures in found["spread"][split].items()
    ]
    return {"title": f"On {split}", "columns": columns, "rows": rows}


def _runs(found: Plain) -> Plain:
    return {"title": "Runs", "columns": ["fold", "run"], "rows": [[str(run["value"]), run["run_id"]] for run in found["runs"]]}


def _chart(found: Plain) -> Markup:
    """A dot a fold, with mean and deviation as a line and a band; beside them a box of the quartiles, whose whiskers end at the extremes."""
    values, figures = _values(found), _headline(found)
    numbers = list(range(len(values)))
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    with canvas(5.2, 3.0) as figure:
        dots, box = figure.subplots(1, 2, sharey=True, width_ratios=[5, 1])
        dots.set_title(found["headline"])
        dots.axhspan(figures["mean"] - figures["deviation"], figures["mean"] + figures["deviation"], color=LINE, alpha=0.6, linewidth=0)
        dots.axhline(figures["mean"], color=INK, linewidth=1, linestyle=(0, (3, 3)))
        dots.plot(numbers, values, color=SERIES[0], marker="o", linestyle="none")
        dots.set_xticks(numbers, [str(run["value"]) for run in found["runs"]])
        dots.set(xlabel="fold; the line is the mean, the band one deviation", xlim=(-0.5, len(values) - 0.5))
        dots.grid(False, axis="x")
        lines: dict[str, Any] = {part: {"color": MUTED} for part in ("boxprops", "whiskerprops", "capprops")}
        box.boxplot(values, widths=0.5, whis=(0, 100), medianprops={"color": SERIES[0]}, **lines)
        box.set_xticks([1], ["all"])
        box.grid(False, axis="x")
        each = "; ".join(f"fold {run['value']} {score(value)}" for run, value in zip(found["runs"], values, strict=True))
        told = f"Mean {score(figures['mean'])}, deviation {score(figures['deviation'])}, quartiles {score(low)} and {score(high)}"
        return to_svg(figure, "chart-folds", f"{found['headline']} of each fold. {each}. {told}.")
