"""Charts that are no curve over steps: points, bands of quantiles, maps of cells. As SVG, in the style of charts.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from components.reporting.charts import INK, LINE, MUTED, SERIES, canvas, legend_above, to_svg

Values = npt.NDArray[np.floating]
_MOST_POINTS = 500  # in a chart: each is an element of the page


def scatter_chart(name: str, title: str, axes: tuple[str, str], points: tuple[Values, Values], line: tuple[Values, Values]) -> Markup:
    """Draw points and the line that they would lie on.

    Args:
        name: as in `line_chart`.
        title: stands above the chart and is read out by screen readers.
        axes: the names of x and y.
        points: x and y, `(N,)` each; of many, some at even distances are drawn.
        line: x and y of the line, `(M,)` each.
    """
    x, y = (values[:: -(-len(values) // _MOST_POINTS)] for values in points)
    with canvas(4.4, 3.2) as figure:
        plot = figure.subplots()
        plot.set_title(title)
        plot.plot(*line, color=INK, linewidth=1, linestyle=(0, (3, 3)))
        plot.scatter(x, y, s=14, color=SERIES[0], alpha=0.7, linewidths=0)
        plot.set(xlabel=axes[0], ylabel=axes[1])
        return to_svg(figure, name, f"{title}: {axes[1]} by {axes[0]}, {len(points[0])} points, {axes[1]} from {y.min():.4g} to {y.max():.4g}.")


def fan_chart(name: str, title: str, x: Values, levels: Values, quantiles: Values, points: tuple[Values, Values]) -> Markup:
    """Draw bands between the outer and the inner pairs of quantiles, the middle one as a line, and the data.

    Args:
        name, title: as in `scatter_chart`.
        x: `(G,)`.
        levels: `(Q,)`, rising, Q odd.
        quantiles: `(Q, G)`.
        points: x and y of the data, `(N,)` each; of many, some at even distances are drawn.
    """
    shown_x, shown_y = (values[:: -(-len(values) // _MOST_POINTS)] for values in points)
    with canvas(5.4, 3.6) as figure:
        plot = figure.subplots()
        plot.set_title(title, pad=24)
        for i in range(len(levels) // 2):
            label = f"{levels[i]:.0%} to {levels[-1 - i]:.0%}"
            plot.fill_between(x, quantiles[i], quantiles[-1 - i], color=SERIES[0], alpha=0.18 + 0.12 * i, linewidth=0, label=label)
        plot.plot(x, quantiles[len(levels) // 2], color=SERIES[0], label="median")
        plot.scatter(shown_x, shown_y, s=6, color=MUTED, alpha=0.7, linewidths=0, label="data")
        plot.set(xlabel="x", ylabel="y")
        legend_above(plot)
        width = float(np.mean(quantiles[-1] - quantiles[0]))
        return to_svg(figure, name, f"{title}. The band from {levels[0]:.0%} to {levels[-1]:.0%} is {width:.3g} wide on average.")


@dataclass(frozen=True)
class Cell:
    """A square of a map.

    Attributes:
        row, column: from the upper left.
        share: how strong its colour is, 0 to 1.
        text: what stands in it, a line or two.
        is_marked: its frame is drawn strong.
    """

    row: int
    column: int
    share: float
    text: str
    is_marked: bool = False


def map_chart(name: str, title: str, cells: Sequence[Cell]) -> Markup:
    """Draw a map of square cells."""
    from matplotlib.patches import Rectangle

    rows, columns = 1 + max(cell.row for cell in cells), 1 + max(cell.column for cell in cells)
    with canvas(0.72 * columns + 0.2, 0.72 * rows + 0.5) as figure:
        plot = figure.subplots()
        plot.set_title(title)
        for cell in cells:
            corner = (cell.column, rows - 1 - cell.row)
            frame = (INK, 1.6) if cell.is_marked else (LINE, 0.8)
            plot.add_patch(Rectangle(corner, 1, 1, facecolor=SERIES[0], alpha=0.7 * cell.share, linewidth=0))
            plot.add_patch(Rectangle(corner, 1, 1, facecolor="none", edgecolor=frame[0], linewidth=frame[1]))
            plot.text(corner[0] + 0.5, corner[1] + 0.5, cell.text, ha="center", va="center", fontsize=9)
        plot.set(xlim=(-0.02, columns + 0.02), ylim=(-0.02, rows + 0.02), aspect="equal")
        plot.axis("off")
        read = "; ".join(f"row {cell.row + 1}, column {cell.column + 1}: {' '.join(cell.text.split())}" for cell in cells)
        return to_svg(figure, name, f"{title}. {read}.")
