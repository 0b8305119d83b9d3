"""Charts of a search, from its trials.json (flows/search/summary.py). As SVG, in the style of charts.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from components.reporting.charts import INK, LINE, MUTED, SERIES, SURFACE, canvas, legend_above, to_svg
from components.reporting.run import Plain
from components.reporting.text import number, value_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CHOSEN, _OTHERS = SERIES[1], SERIES[0]
_MOST_LETTERS = 66  # beside each other in a chart
_MOST_TICKS = 10
_MOST_MARKED = 30  # curves whose points are marked one by one
_LOG_FROM = 50.0  # times the lowest value: one trial that diverged must not press all others into a line
_ENDS = {  # how a curve ends, by shape: (in the legend, marker)
    "stopped": ("stopped early", "s"),
    "failed": ("failed", "x"),
    "running": ("end unknown", "d"),
}

Ticks = list[tuple[float, str]]


def parallel(found: Plain, ranked: Sequence[Plain]) -> Markup:
    """Draw one line a trial through its place on each key's range, and last on the order of their values.

    The axes lie one under another: any number of keys, and long ones, can be read.

    Args:
        found: trials.json.
        ranked: its trials, best first, those without a value last.
    """
    keys = list(found["space"])
    valued = [trial for trial in ranked if trial["best"] is not None]
    axes_of = [(_label(key, found["space"][key]), _ticks(found["space"][key])) for key in keys] + [
        (f"{found['metric']}, in order", _order_ticks(valued))
    ]
    with canvas(5.2, 0.7 * len(axes_of) + 0.5) as figure:
        axes = figure.subplots()
        for place, trial in reversed(list(enumerate(ranked))):
            quality = None if trial["best"] is None else 1.0 - place / max(len(valued) - 1, 1)
            places = [*(trial["positions"].get(key) for key in keys), quality]
            _path(axes, places, quality, trial["name"] == found["winner"], len(ranked) <= _MOST_MARKED)
        for row, (label, ticks) in enumerate(axes_of):
            _draw_axis(axes, -float(row), label, ticks)
        axes.set(xlim=(-0.02, 1.02), ylim=(-len(axes_of) + 0.45, 0.55))
        axes.axis("off")
        _title(axes, "Trials by what was varied")
        told = next((trial for trial in ranked if trial["name"] == found["winner"]), ranked[0])
        values = ", ".join(f"{key} {value_text(told['values'].get(key))}" for key in keys)
        which = "chosen one" if told["name"] == found["winner"] else "best value"
        return to_svg(figure, "chart-search-parallel", f"Parallel coordinates of {len(ranked)} trials. The {which} has {values}.")


def _path(axes: Axes, places: list[float | None], quality: float | None, is_chosen: bool, is_marked: bool) -> None:
    x = [float("nan") if place is None else place for place in places]
    y = [-float(row) for row in range(len(x))]
    marker: dict[str, Any] = {"marker": "o", "markersize": 3} if is_marked or is_chosen else {}
    if is_chosen:
        axes.plot(x, y, color=_CHOSEN, linewidth=2.4, zorder=3, label="chosen", **marker)
    elif quality is None:
        axes.plot(x, y, color=MUTED, linewidth=1, linestyle=(0, (1, 2)), zorder=1.5, **marker)
    else:
        alpha = 0.1 + 0.8 * quality**2 if is_marked else 0.05 + 0.6 * quality**6  # of many, the best tenth stands out
        axes.plot(x, y, color=_OTHERS, linewidth=1, alpha=alpha, zorder=2, **marker)


def _draw_axis(axes: Axes, y: float, label: str, ticks: Ticks) -> None:
    behind = {"facecolor": SURFACE, "edgecolor": "none", "alpha": 0.8, "pad": 1.0}
    axes.plot([0, 1], [y, y], color=MUTED, linewidth=1, zorder=4)
    axes.text(0, y + 0.13, _tail(label, _MOST_LETTERS), fontsize=9, color=INK, va="bottom", zorder=5, bbox=behind)
    for place, text in ticks:
        side = "left" if place < 0.02 else "right" if place > 0.98 else "center"
        axes.plot([place, place], [y - 0.05, y + 0.05], color=MUTED, linewidth=1, zorder=4)
        axes.text(place, y - 0.1, text, fontsize=8, color=MUTED, ha=side, va="top", zorder=5, bbox=behind)


def _label(key: str, span: Plain) -> str:
    scale = " (log)" if span["kind"].startswith("log") else ""
    return _tail(key, _MOST_LETTERS - len(scale)) + scale


def _ticks(span: Plain) -> Ticks:
    """What trials.json says of a range: its ends and its middle, which tells its scale; of its choices some at even distances where they are many."""
    shown = span["ticks"][:: -(-len(span["ticks"]) // _MOST_TICKS)]
    room = _MOST_LETTERS / max(1.5 * (len(shown) - 1), 2)  # the first and the last stand inward of their ends: a half more between them and the next
    return [(place, _tail(value_text(value), int(room) - 1)) for place, value in shown]


def _order_ticks(valued: Sequence[Plain]) -> Ticks:
    if len(valued) < 3:
        return [(1.0 - i, number(trial["best"])) for i, trial in enumerate(valued)]
    middle = len(valued) // 2
    told = [(0, "best "), (middle, ""), (len(valued) - 1, "worst ")]
    return [(1.0 - place / (len(valued) - 1), word + number(valued[place]["best"])) for place, word in told]


def learning_curves(found: Plain, ranked: Sequence[Plain]) -> Markup:
    """Draw the monitored value against the part of the training. The shape of its last mark tells how a trial ended.

    Args:
        found, ranked: as in `parallel`.
    """
    drawn = [trial for trial in ranked if _points(trial)]
    with canvas(5.2, 3.2) as figure:
        axes = figure.subplots()
        axes.set(xlabel="per cent of the training", ylabel=found["metric"], xlim=(0, 102))
        for trial in reversed(drawn):
            _draw_curve(axes, trial, trial["name"] == found["winner"], len(drawn) <= _MOST_MARKED)
        _scale(axes, [value for trial in drawn for _, value in _points(trial)])
        _title(axes, "Learning curves")
        early = ", ".join(f"{count} {words}" for status, (words, _) in _ENDS.items() if (count := sum(t["status"] == status for t in drawn)))
        described = f"{len(drawn)} curves of {found['metric']}, the best value {number(ranked[0]['best'])}. Ended before the end: {early or 'none'}."
        return to_svg(figure, "chart-search-curves", f"Learning curves of the trials. {described}")


def _draw_curve(axes: Axes, trial: Plain, is_chosen: bool, is_marked: bool) -> None:
    points = _points(trial)
    colour, width, alpha, order = (_CHOSEN, 2.4, 1.0, 3) if is_chosen else (_OTHERS, 1.0, 0.6 if is_marked else 0.3, 2)
    dots: dict[str, Any] = {"marker": ".", "markersize": 4} if is_marked or len(points) == 1 else {}
    label = "chosen" if is_chosen else None
    axes.plot(*zip(*points, strict=True), color=colour, linewidth=width, alpha=alpha, zorder=order, label=label, **dots)
    for takeover in trial["takeovers"]:
        own = [point for point, (step, *_) in zip(points, _valued(trial), strict=True) if step <= takeover["step"]]
        _mark(axes, (own or points[:1])[-1], "^", "took over another's weights")
    if trial["status"] in _ENDS:
        words, marker = _ENDS[trial["status"]]
        _mark(axes, points[-1], marker, words)


def _mark(axes: Axes, point: tuple[float, float], marker: str, words: str) -> None:
    """Mark a point, hollow and in ink; the first of its shape stands in the legend."""
    is_known = words in axes.get_legend_handles_labels()[1]
    face = INK if marker == "x" else SURFACE
    axes.plot(*point, color=face, marker=marker, markersize=5, markeredgecolor=INK, linestyle="none", zorder=4, label=None if is_known else words)


def _valued(trial: Plain) -> list[list[Any]]:
    return [point for point in trial["curve"] if point[2] is not None]


def _points(trial: Plain) -> list[tuple[float, float]]:
    return [(percent, value) for _, percent, value, _ in _valued(trial)]


def importance(shares: dict[str, float], percent: float) -> Markup:
    """Draw each key's share of the explained variance as a bar, its name above it.

    Args:
        shares: `{key: share}`, largest first.
        percent: of the training, until which the trials were compared.
    """
    with canvas(5.2, 0.5 * len(shares) + 0.9) as figure:
        axes = figure.subplots()
        axes.set_title("Importance of each key (fANOVA)")
        for row, (key, share) in enumerate(shares.items()):
            axes.barh(-row, 1.0, height=0.3, color=LINE)
            axes.barh(-row, share, height=0.3, color=SERIES[0])
            axes.text(0, 0.2 - row, _tail(key, _MOST_LETTERS - 8), fontsize=9, va="bottom")
            axes.text(1, 0.2 - row, f"{share:.2f}", fontsize=9, va="bottom", ha="right")
        axes.set(xlim=(0, 1), ylim=(0.5 - len(shares), 0.75), yticks=[])
        until = f" until {number(percent)} % of the training" if percent < 100 else ""
        axes.set_xlabel(f"share of the variance of the best value{until}")
        axes.grid(False)
        axes.spines["left"].set_visible(False)
        described = "; ".join(f"{key} {share:.2f}" for key, share in shares.items())
        return to_svg(figure, "chart-search-importance", f"Importance of what was varied, shares of 1. {described}.")


def best_so_far(name: str, title: str, over: str, better: Sequence[tuple[float, float]], total: float, metric: str) -> Markup:
    """Draw the best value against a cost.

    Args:
        name: as in `line_chart`.
        title: stands above the chart.
        over: the cost and its unit.
        better: (cost, value) of each improvement.
        total: the cost of the whole search, to which the last value held.
        metric: what the values are.
    """
    x, y = [cost for cost, _ in better], [value for _, value in better]
    with canvas(5.2, 2.7) as figure:
        axes = figure.subplots()
        axes.set_title(title)
        axes.set(xlabel=over, ylabel=metric)
        axes.plot([*x, max(total, x[-1])], [*y, y[-1]], color=_OTHERS, drawstyle="steps-post")
        axes.plot(x, y, color=_OTHERS, marker="o", markersize=4, linestyle="none")
        axes.set_xlim(left=0)
        _scale(axes, y)
        axes.grid(False, axis="x")
        described = "; ".join(f"{number(value)} at {number(cost)}" for cost, value in better)
        return to_svg(figure, name, f"{title}, {metric} by {over}. {described}. In all {number(total)}.")


def _title(axes: Axes, title: str) -> None:
    """Write the title, with what has a label under it."""
    is_labelled = bool(axes.get_legend_handles_labels()[0])
    axes.set_title(title, pad=24 if is_labelled else None)
    if is_labelled:
        legend_above(axes)


def _scale(axes: Axes, values: Sequence[float]) -> None:
    """Make the y axis a logarithmic one where the values are far apart."""
    if min(values) > 0 and max(values) > _LOG_FROM * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: number(value))
        axes.yaxis.set_minor_formatter(lambda value, _: "")


def _tail(text: str, letters: int) -> str:
    """Cut a name that is too long; what tells it from others stands at its end."""
    return text if len(text) <= letters else "…" + text[-max(letters - 1, 1) :]
