"""Searches: what was tried, how it went, what mattered, what it cost."""

from __future__ import annotations

from collections import Counter
from typing import Any

from markupsafe import Markup

from components.reporting.run import Plain, Run
from components.reporting.search_charts import best_so_far, importance, learning_curves, parallel
from components.reporting.sections.base import Section
from components.reporting.text import NOTHING, duration, number, value_text

SHOWN_TRIALS = 30
_OUTCOMES = {"finished": "finished", "stopped": "stopped early", "failed": "failed", "running": "without an end"}
_UNITS = ((7200.0, 3600.0, "hours"), (300.0, 60.0, "minutes"), (0.0, 1.0, "seconds"))  # from so many seconds, so many of them each


def search(run: Run) -> Section | None:
    """Return the trials, their parallel coordinates and learning curves, the importance of what was varied, the best so far, cost and waste."""
    found = run.trials
    if not found.get("trials"):
        return None
    ranked = _ranked(found)
    charts = [parallel(found, ranked), learning_curves(found, ranked), *_importance(found), *_best(found)] if ranked[0]["best"] is not None else []
    tables = [*_schedule(found), _trials(found, ranked), *_failures(found), _cost(found)]
    return Section("search", "Search", {"intro": _intro(found, ranked), "charts": charts, "tables": tables})


def _ranked(found: Plain) -> list[Plain]:
    """The trials, best first; those without a value last."""
    sign = -1.0 if found["mode"] == "max" else 1.0
    return sorted(found["trials"], key=lambda trial: (trial["best"] is None, sign * (trial["best"] or 0.0)))


def _intro(found: Plain, ranked: list[Plain]) -> str:
    counts = Counter(trial["status"] for trial in ranked)
    told = ", ".join(f"{counts[status]} {words}" for status, words in _OUTCOMES.items() if counts[status])
    trials = "1 trial" if len(ranked) == 1 else f"{len(ranked)} trials"
    gpus = f", {number(found['gpu_hours'])} GPU-hours" if found["gpus"] else ""
    share = found["wasted_seconds"] / found["seconds"] if found["seconds"] else 0.0
    wasted = f"{duration(found['wasted_seconds'])} of it ({share:.0%})" if share else "none of it"
    return (
        f"{trials} by {found['algorithm']} for the {'highest' if found['mode'] == 'max' else 'lowest'} {found['metric']}: {told}. "
        f"{_chosen(found, ranked)} All trials together ran for {duration(found['seconds'])}{gpus}, by the clock for "
        f"{duration(found['wall_seconds'])}; {wasted} was wasted."
    )


def _chosen(found: Plain, ranked: list[Plain]) -> str:
    if ranked[0]["best"] is None:
        return "No trial gave a value, so there is nothing to draw."
    chosen = [trial for trial in ranked if trial["name"] == found["winner"]]
    if not chosen:
        return "None was trained to its end, so none was chosen."
    return f"Chosen was {chosen[0]['name']} with {number(chosen[0]['best'])}, the best of those that were trained to their end."


def _importance(found: Plain) -> list[Markup]:
    return [importance(found["importance"], found["importance_percent"])] if found["importance"] else []


def _best(found: Plain) -> list[Markup]:
    """The best so far against the work of all trials, and against the clock where several ran at once."""
    better = found["best_so_far"]
    if not better:
        return []
    if found["gpus"]:
        each, over = 3600.0 / found["gpus"], "GPU-hours of all trials"
    else:
        each, over = _unit(found["seconds"], "of all trials together")
    charts = [_best_chart(found, "work", "seconds", each, over)]
    if found["gpus"] or found["wall_seconds"] < 0.99 * found["seconds"]:
        charts.append(_best_chart(found, "clock", "wall_seconds", *_unit(found["wall_seconds"], "by the clock")))
    return charts


def _best_chart(found: Plain, name: str, cost: str, each: float, over: str) -> Markup:
    better = [(point[cost] / each, point["value"]) for point in found["best_so_far"]]
    return best_so_far(f"chart-search-best-{name}", f"Best so far, {over}", over, better, found[cost] / each, found["metric"])


def _unit(seconds: float, whose: str) -> tuple[float, str]:
    each, name = next((each, name) for least, each, name in _UNITS if seconds >= least)
    return each, f"{name} {whose}"


def _trials(found: Plain, ranked: list[Plain]) -> Plain:
    columns = ["trial", "outcome", found["metric"], "trained to", "time", *found["space"]]
    rows = [_row(found, trial) for trial in ranked[:SHOWN_TRIALS]]
    more = len(ranked) - SHOWN_TRIALS
    title = "Trials, best first" + (f" ({more} more in trials.csv)" if more > 0 else "")
    return {"title": title, "columns": columns, "rows": rows}


def _row(found: Plain, trial: Plain) -> list[Any]:
    best = NOTHING if trial["best"] is None else trial["best"]
    told = [_name(found, trial), _unbroken(_OUTCOMES[trial["status"]]), best, _trained(trial), _unbroken(duration(trial["seconds"]))]
    return told + [value_text(trial["values"].get(key)) for key in found["space"]]


def _name(found: Plain, trial: Plain) -> str:
    notes = ["chosen"] if trial["name"] == found["winner"] else []
    notes += [f"from {takeover['from']} at step {number(takeover['step'])}" for takeover in trial["takeovers"]]
    return f"{trial['name']} ({', '.join(notes)})" if notes else str(trial["name"])


def _trained(trial: Plain) -> str:
    return f"{trial['curve'][-1][1]:.0f} %" if trial["curve"] else "nothing"


def _unbroken(text: str) -> str:
    """Keep the words of a narrow column together."""
    return text.replace(" ", "\u00a0")


def _schedule(found: Plain) -> list[Plain]:
    """With which values the chosen weights were trained, where these changed on the way."""
    rows = [[entry["step"], *(value_text(entry["values"].get(key)) for key in found["space"])] for entry in found["schedule"]]
    return [{"title": "How the chosen weights were trained", "columns": ["from step", *found["space"]], "rows": rows}] if len(rows) > 1 else []


def _failures(found: Plain) -> list[Plain]:
    reasons: dict[str, list[str]] = {}
    for trial in found["trials"]:
        if trial["status"] == "failed":
            reasons.setdefault(trial["reason"], []).append(trial["name"])
    rows = [[reason, len(names), ", ".join(names[:5]) + (", …" if len(names) > 5 else "")] for reason, names in reasons.items()]
    return [{"title": "Why trials failed", "columns": ["reason", "trials", "which"], "rows": rows}] if rows else []


def _cost(found: Plain) -> Plain:
    """Where the time went; the rows are the whole of it."""
    rows = []
    for status, words in _OUTCOMES.items():
        of_it = [trial for trial in found["trials"] if trial["status"] == status]
        again = 0.0 if status == "failed" else sum(trial["repeated_seconds"] for trial in of_it)
        if of_it:
            note = " (wasted)" if status == "failed" else ""
            rows.append([f"trials {words}{note}", len(of_it), *_spent(found, sum(trial["seconds"] for trial in of_it) - again)])
    if found["repeated_seconds"]:
        trials = sum(trial["repeated_seconds"] > 0 and trial["status"] != "failed" for trial in found["trials"])
        rows.append(["steps made again after a trial was cut off (wasted)", trials, *_spent(found, found["repeated_seconds"])])
    gpus = ["GPU-hours"] if found["gpus"] else []
    return {"title": "Cost and waste", "columns": ["what", "trials", "time", *gpus, "share"], "rows": rows}


def _spent(found: Plain, seconds: float) -> list[Any]:
    gpus = [seconds * found["gpus"] / 3600.0] if found["gpus"] else []
    return [_unbroken(duration(seconds)), *gpus, f"{seconds / found['seconds']:.0%}" if found["seconds"] else NOTHING]
