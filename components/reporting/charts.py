"""Charts as inline SVG: matplotlib draws them, the page's style sheet colours them, light or dark."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Matplotlib knows only fixed colours. Each of these stands for a variable of style.css and is replaced by it in the finished SVG.
INK, MUTED, LINE, SURFACE = "#010203", "#010204", "#010205", "#01020a"
SERIES = ("#010206", "#010207", "#010208", "#010209")
_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    LINE: "--line",
    SURFACE: "--surface",
    **{colour: f"--series-{i + 1}" for i, colour in enumerate(SERIES)},
}

_SIZE = (4.8, 2.7)  # inches of a chart of curves
_STYLE: dict[Any, Any] = {  # Any: the stubs want each key as a literal
    "svg.fonttype": "none",
    "text.parse_math": False,  # a `$` in a name is a dollar
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.titley": 1.0,  # or every drawing measures the axes to put it above them
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
}


@dataclass(frozen=True)
class Series:
    """One curve.

    Attributes:
        label: its name in the legend.
        x: steps.
        y: values, as many.
        colour: one of `SERIES`.
        is_background: drawn thin and pale, behind the others.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    colour: str = SERIES[0]
    is_background: bool = False


def line_chart(
    name: str, title: str, series: Sequence[Series], *, marks: Sequence[float] = (), best: float | None = None, over: str = "step"
) -> Markup:
    """Draw curves over steps, or over something else.

    Args:
        name: a word of letters, digits and dashes, unique on the page; ids inside the SVG start with it.
        title: stands above the chart and is read out by screen readers.
        series: the curves; the last values are read out too.
        marks: steps at which an epoch ended, drawn as fine lines.
        best: the step of the best checkpoint, drawn as a dashed line.
        over: what the x axis shows.
    """
    with canvas(*_SIZE, layout=None) as figure:
        axes = figure.subplots()
        axes.set_xlabel(over)
        for mark in _thinned_marks(marks):
            axes.axvline(mark, color=LINE, linewidth=0.6)
        axes.grid(False, axis="x")
        for line in series:
            _draw(axes, line)
        if best is not None:
            axes.axvline(best, color=INK, linewidth=1, linestyle=(0, (3, 3)), label=f"best, step {best:.0f}")
        if len(series) > 1 or best is not None:
            legend_above(axes)
        _place(axes, title)
        described = "; ".join(f"{line.label} ends at {line.y[-1]:.4g}" for line in series)
        return to_svg(figure, name, f"{title} over {over}s. {described}.")


def reliability_chart(name: str, lower: Sequence[float], upper: Sequence[float], accuracy: Sequence[float | None], count: Sequence[int]) -> Markup:
    """Draw accuracy against confidence, bin by bin, with the diagonal of perfect calibration and how many samples each bin holds.

    Args:
        name: as in `line_chart`.
        lower, upper: the edges of the M bins in [0, 1].
        accuracy: the M accuracies, None for an empty bin.
        count: the M numbers of samples.
    """
    with canvas(4.4, 4.2) as figure:
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        width = [0.92 * (right - left) for left, right in zip(lower, upper, strict=True)]
        centre = [(left + right) / 2 for left, right in zip(lower, upper, strict=True)]
        top.set_title("Reliability", pad=24)
        top.bar(centre, [value or 0 for value in accuracy], width=width, color=SERIES[0], alpha=0.85, label="accuracy in the bin")
        top.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=(0, (3, 3)), label="perfect calibration")
        top.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
        legend_above(top)
        bottom.bar(centre, count, width=width, color=MUTED, alpha=0.7)
        bottom.set(xlabel="confidence", ylabel="samples")
        filled = [(left, right, value) for left, right, value in zip(lower, upper, accuracy, strict=True) if value is not None]
        described = "; ".join(f"{left:.2f} to {right:.2f}: {value:.3f}" for left, right, value in filled)
        return to_svg(figure, name, f"Reliability diagram, accuracy by confidence. {described}.")


def to_svg(figure: Figure, name: str, description: str) -> Markup:
    """Return a figure as an SVG element without a size of its own; the same figure gives the same bytes.

    Args:
        figure: drawn with the colours of this module.
        name: the prefix of all ids, so that two charts of one page do not mix them up.
        description: the text alternative.
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    for background in (figure.patch, *(axes.patch for axes in figure.axes)):
        background.set(facecolor="none", edgecolor="none")
    buffer = io.StringIO()
    # Not savefig, which draws everything twice, the first time for the layout alone, which draws it too.
    FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    head = re.match(r"<svg[^>]*>", text)
    view = re.search(r'viewBox="([^"]*)"', text)
    assert head is not None and view is not None, "matplotlib wrote another SVG than expected"
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{view[1]}" role="img" aria-label="{escape(description)}">'
    )
    return Markup(opening + text[head.end() :].strip())


@contextmanager
def canvas(width_inches: float, height_inches: float, layout: Literal["constrained"] | None = "constrained") -> Iterator[Figure]:
    """Yield a figure of the house's style; matplotlib's settings are as before when it is left.

    Args:
        width_inches, height_inches: of the figure.
        layout: None where whoever draws places the axes; the other measures every text several times, half of the time of a small chart.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    # a fixed salt makes matplotlib's ids, and so the page, the same on every drawing
    with rc_context({**_STYLE, "svg.hashsalt": "modelyard"}):
        yield Figure(figsize=(width_inches, height_inches), layout=layout)


def _place(axes: Axes, title: str) -> None:
    """Leave room for title, legend and labels. The browser's font writes them, so their widths are estimated rather than measured in another one."""
    pad = 24 if axes.get_legend() else 6
    axes.ticklabel_format(axis="y", useOffset=False)
    ticks = [label.get_text() for label in axes.yaxis.get_ticklabels()]
    scale = axes.yaxis.get_major_formatter().get_offset()  # "1e-6", which would stand where the legend does
    axes.yaxis.get_offset_text().set_visible(False)
    axes.set_title(f"{title} (times {scale})" if scale else title, pad=pad)
    left, bottom, right, top = 0.2 + 0.08 * max(map(len, ticks), default=0), 0.46, 0.12, 0.22 + pad / 72
    width, height = _SIZE
    axes.set_position((left / width, bottom / height, 1 - (left + right) / width, 1 - (bottom + top) / height))
    if (legend := axes.get_legend()) is not None:  # from the left edge: it may be wider than the axes
        legend.set_bbox_to_anchor((0.1 / width, 1 - top / height), transform=axes.figure.transFigure)


def _draw(axes: Axes, line: Series) -> None:
    if line.is_background:
        axes.plot(line.x, line.y, color=line.colour, linewidth=1, alpha=0.35, label=line.label)
    else:
        axes.plot(line.x, line.y, color=line.colour, marker="o" if len(line.x) <= 30 else "", markersize=3, label=line.label)


def legend_above(axes: Axes) -> None:
    """Put the legend between title and chart, where it covers no data."""
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=4, borderaxespad=0, handlelength=1.4, columnspacing=1.2)


def _thinned_marks(marks: Sequence[float], most: int = 40) -> Sequence[float]:
    return marks[:: -(-len(marks) // most)] if marks else marks
