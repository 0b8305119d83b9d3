"""Curves of training: loss, learning rate and gradient norm by step, every metric by epoch."""

from __future__ import annotations

from markupsafe import Markup

from components.reporting.charts import SERIES, Series, line_chart
from components.reporting.diagnosis import diagnose
from components.reporting.journal import Journal, points, thinned
from components.reporting.run import Run
from components.reporting.sections.base import Section
from components.reporting.text import flatten, number

_BY_STEP = {"learning_rate": "Learning rate", "gradient_norm": "Gradient norm"}
_SPLITS = ("train", "validation", "test")


def curves(run: Run) -> Section | None:
    """Return the loss, the accuracy (or what else chose the best checkpoint) and the step curves; other metrics are folded away."""
    journal = run.journal
    best = run.summary.get("best") or {}
    names = _epoch_names(journal)
    first = [name for name in ("loss", str(best.get("metric", "")).rpartition("/")[2], "accuracy") if name in names]
    shown = list(dict.fromkeys(["loss", *first]))
    main = [chart for name in shown if (chart := _epoch_chart(journal, name, best.get("step")))]
    main += [chart for name, title in _BY_STEP.items() if (chart := _step_chart(journal, name, title))]
    if not main:
        return None
    more = [chart for name in names if name not in shown and (chart := _epoch_chart(journal, name, best.get("step")))]
    return Section(
        "curves",
        "Curves",
        {
            "main": main,
            "more": more,
            "best": best,
            "diagnoses": diagnose(journal.epochs),
            "stopped": run.summary.get("stopped"),
            "events": _events(journal),
            "skipped": journal.skipped,
        },
    )


def _epoch_names(journal: Journal) -> list[str]:
    """Return the names of the epoch metrics without their split: `validation/accuracy` is accuracy."""
    keys = [key for record in journal.epochs for key in record if "/" in key]
    return list(dict.fromkeys(key.partition("/")[2] for key in keys))


def _epoch_chart(journal: Journal, name: str, best: float | None) -> Markup | None:
    keys = dict.fromkeys(key for record in journal.epochs for key in record if key.partition("/")[2] == name)
    splits = [key.partition("/")[0] for key in keys]
    series = [Series(split, *points(journal.epochs, key), _colour(split)) for split, key in zip(splits, keys, strict=True)]
    if name == "loss":
        series.insert(0, Series("each step", *thinned(*points(journal.steps, "loss")), SERIES[0], is_background=True))
    series = [line for line in series if line.x]
    title = name.replace("_", " ").capitalize()
    return line_chart(f"chart-{_word(name)}", title, series, marks=_epoch_ends(journal), best=best) if series else None


def _colour(split: str) -> str:
    """Return the same colour for a split in every chart."""
    return SERIES[_SPLITS.index(split)] if split in _SPLITS else SERIES[-1]


def _step_chart(journal: Journal, name: str, title: str) -> Markup | None:
    x, y = thinned(*points(journal.steps, name))
    return line_chart(f"chart-{_word(name)}", title, [Series(title, x, y)], marks=_epoch_ends(journal)) if x else None


def _epoch_ends(journal: Journal) -> list[float]:
    return [record["step"] for record in journal.epochs]


def _events(journal: Journal) -> list[tuple[str, str]]:
    hidden = ("kind", "step", "epoch", "seconds")
    return [
        (
            number(record["step"]),
            "; ".join(f"{key}: {value}" for key, value in flatten({k: v for k, v in record.items() if k not in hidden})),
        )
        for record in journal.events
    ]


def _word(name: str) -> str:
    """Return a name as part of an id: other characters than letters and digits become their code points."""
    return "".join(character if character.isascii() and character.isalnum() else f"-{ord(character)}-" for character in name)
