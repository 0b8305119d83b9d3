"""A policy on a map: the greedy action and the value of each state."""

from __future__ import annotations

import numpy as np

from components.reporting.plots import Cell, map_chart
from components.reporting.run import Run
from components.reporting.sections.base import Section

_MOST_MAPS = 6
_TIE = 1e-9
_ARROWS = {
    "left": "\u2190",
    "right": "\u2192",
    "up": "\u2191",
    "down": "\u2193",
    "north": "\u2191",
    "south": "\u2193",
    "west": "\u2190",
    "east": "\u2192",
}


def policy(run: Run) -> Section | None:
    """Return maps of the greedy actions with the learned values, the states with a wrong action marked, and the returns."""
    shown = run.gallery
    if "policy_values" not in shown:
        return None
    panels = _names(run, "panel")
    asked = [panel for panel in range(len(panels)) if _judged(run, panel).any()]
    charts = [map_chart(f"chart-map-{panel}", panels[panel], _cells(run, panel)) for panel in asked[:_MOST_MAPS]]
    scores = run.metrics.get(run.judged_split) or {}
    rows = [[name.replace("_", " "), scores[name]] for name in ("agreement", "value_error", "mean_return", "optimal_return") if name in scores]
    wrong = int((_judged(run) & ~_optimal(run)).sum())
    return Section(
        "policy",
        "Policy",
        {
            "intro": f"In each state the action of the greatest learned value, and that value; the stronger the colour, the greater. "
            f"Optimal is an action that value iteration finds best; strong frames mark the {wrong} of {int(_judged(run).sum())} states where the "
            f"learned action is not. {len(charts)} of {len(asked)} maps.",
            "charts": charts,
            "tables": [{"title": "Against value iteration", "columns": ["score", "value"], "rows": rows}],
        },
        template="figures",
    )


def _names(run: Run, column: str) -> list[str]:
    names: list[str] = (run.card.get("columns") or {}).get(column, {}).get("classes") or []
    return names or [str(i) for i in range(1 + int(run.gallery[f"policy_{column}"].max()))]


def _judged(run: Run, panel: int | None = None) -> np.ndarray:
    judged: np.ndarray = run.gallery["policy_judged"] > 0
    return judged if panel is None else judged & (run.gallery["policy_panel"] == panel)


def _optimal(run: Run) -> np.ndarray:
    optimal, greedy = run.gallery["policy_optimal"], run.gallery["policy_values"].argmax(axis=1)
    right: np.ndarray = optimal[np.arange(len(greedy)), greedy] >= optimal.max(axis=1) - _TIE
    return right


def _cells(run: Run, panel: int) -> list[Cell]:
    shown, judged, right = run.gallery, _judged(run), _optimal(run)
    values, greedy = shown["policy_values"].max(axis=1), shown["policy_values"].argmax(axis=1)
    low, high = values[judged].min(), values[judged].max()
    actions, kinds = _actions(run), _names(run, "cell")
    cells = []
    for i in np.flatnonzero(shown["policy_panel"] == panel):
        row, column = (int(place) for place in shown["policy_position"][i])
        if judged[i]:
            share = float((values[i] - low) / max(high - low, 1e-12))
            cells.append(Cell(row, column, share, f"{actions[greedy[i]]}\n{values[i]:.2f}", not right[i]))
        else:
            cells.append(Cell(row, column, 0.0, kinds[int(shown["policy_cell"][i])]))
    return cells


def _actions(run: Run) -> list[str]:
    """Arrows for directions, and the words of other actions."""
    count = run.gallery["policy_values"].shape[1]
    names = ((run.spec.get("data") or {}).get("prepare") or {}).get("actions") or [str(i) for i in range(count)]
    return [_ARROWS.get(name, name) for name in names]
