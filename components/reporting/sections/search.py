"""Searches: what was tried, how it went, what mattered, what it cost."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from components.reporting.charts import INK, MUTED, SERIES, Series, canvas, line_chart, to_svg
from components.reporting.run import Plain, Run
from components.reporting.sections.base import Section

SHOWN_TRIALS = 30


def search(run: Run) -> Section | None:
    """Return the trials, their parallel coordinates and learning curves, the importance of what was varied, and the best so far against time."""
    found = run.trials
    if not found.get("trials"):
        return None
    ranked = _ranked(found)
    return Section(
        "search",
        "Search",
        {
            "intro": _intro(found),
            "charts": [_parallel(found, ranked), _curves(found, ranked), *_importance(found), *_best_so_far(found)],
            "tables": [_table(found, ranked)],
        },
        template="figures",
    )


def _ranked(found: Plain) -> list[Plain]:
    """The trials, best first; those without a value last."""
    sign = -1.0 if found["mode"] == "max" else 1.0
    return sorted(found["trials"], key=lambda t: (t["best"] is None, sign * (t["best"] or 0.0)))


def _intro(found: Plain) -> str:
    counts = {status: sum(t["status"] == status for t in found["trials"]) for status in ("finished", "stopped", "failed")}
    told = f"{len(found['trials'])} trials by {found['algorithm']} for the best {found['metric']} ({found['mode']}): " + ", ".join(
        f"{count} {status}" for status, count in counts.items() if count
    )
    return f"{told}. They trained for {found['seconds']:.0f} s in all, {found['wasted_seconds']:.0f} s of it in trials that failed."


def _table(found: Plain, ranked: list[Plain]) -> Plain:
    columns = ["trial", "outcome", found["metric"], "trained to", *found["keys"]]
    rows = [[*_outcome(found, t), t["best"], _trained(t), *(_shown(t["values"].get(key)) for key in found["keys"])] for t in ranked[:SHOWN_TRIALS]]
    more = len(ranked) - SHOWN_TRIALS
    return {"title": f"Trials, best first ({more} more in trials.csv)" if more > 0 else "Trials, best first", "columns": columns, "rows": rows}


def _outcome(found: Plain, trial: Plain) -> list[str]:
    chosen = " (chosen)" if trial["name"] == found["winner"] else ""
    return [trial["name"] + chosen, f"failed: {trial['reason']}" if trial["status"] == "failed" else trial["status"]]


def _trained(trial: Plain) -> str:
    return f"{trial['curve'][-1][1]:.0f} %" if trial["curve"] else "nothing"


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _parallel(found: Plain, ranked: list[Plain]) -> Markup:
    """One line a trial through its place on each key's range, the best ones drawn over the others."""
    keys = found["keys"]
    with canvas(max(4.8, 1.4 * (len(keys) + 1)), 2.9) as figure:
        axes = figure.subplots()
        axes.set_title("Trials by what was varied")
        for place, trial in reversed(list(enumerate(ranked))):
            heights = [trial["positions"].get(key) for key in keys]
            chosen = trial["name"] == found["winner"]
            quality = 1.0 - place / max(len(ranked) - 1, 1)
            colour = SERIES[1] if chosen else SERIES[0]
            axes.plot([*range(len(keys)), len(keys)], [*heights, quality], color=colour, linewidth=2.2 if chosen else 1.0, alpha=0.2 + 0.8 * quality)
        axes.set_xticks(range(len(keys) + 1), [*keys, "rank"])
        axes.set(ylim=(-0.05, 1.05), ylabel="place in the range")
        axes.grid(False, axis="y")
        best = ranked[0]
        described = ", ".join(f"{key} {_shown(best['values'].get(key))}" for key in keys)
        return to_svg(figure, "chart-search-parallel", f"Parallel coordinates of {len(ranked)} trials. The best has {described}.")


def _curves(found: Plain, ranked: list[Plain]) -> Markup:
    """The monitored value against the part of the training, with a mark where a trial was stopped."""
    with canvas(4.8, 2.9) as figure:
        axes = figure.subplots()
        axes.set_title("Learning curves")
        axes.set(xlabel="per cent of the training", ylabel=found["metric"])
        stopped = 0
        for trial in reversed(ranked):
            points = [(percent, value) for _, percent, value, _ in trial["curve"] if value is not None]
            if not points:
                continue
            colour, width, alpha = (SERIES[1], 2.2, 1.0) if trial["name"] == found["winner"] else (SERIES[0], 1.0, 0.5)
            axes.plot(*zip(*points, strict=True), color=colour, linewidth=width, alpha=alpha)
            if trial["status"] != "finished":
                stopped += 1
                marker, ink = ("x", INK) if trial["status"] == "failed" else ("o", MUTED)
                axes.plot(*points[-1], color=ink, marker=marker, markersize=4)
        described = f"{len(ranked)} curves of {found['metric']}, {stopped} of them end early"
        return to_svg(figure, "chart-search-curves", f"Learning curves of the trials. {described}.")


def _importance(found: Plain) -> list[Markup]:
    shares = found["importance"]
    if not shares:
        return []
    with canvas(4.8, 0.9 + 0.35 * len(shares)) as figure:
        axes = figure.subplots()
        axes.set_title("Share of the variance that each key explains (fANOVA)")
        names = list(reversed(shares))
        axes.barh(names, [shares[name] for name in names], color=SERIES[0])
        axes.set(xlim=(0, 1))
        axes.grid(False, axis="y")
        described = "; ".join(f"{name} {share:.2f}" for name, share in shares.items())
        return [to_svg(figure, "chart-search-importance", f"Importance of what was varied. {described}.")]


def _best_so_far(found: Plain) -> list[Markup]:
    points = found["best_so_far"]
    if len(points) < 2:
        return []
    series = [Series(found["metric"], [seconds for seconds, _ in points], [value for _, value in points])]
    return [line_chart("chart-search-best", "Best so far", series, over="second")]
