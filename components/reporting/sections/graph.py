"""Graphs: where a model puts nodes or whole graphs, and small graphs drawn.

Legend: V nodes, B graphs, S pixels of a picture's side.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from components.reporting.images import png
from components.reporting.run import Run
from components.reporting.sections.base import Section
from components.reporting.sections.segmentation import palette

_SIDE_PIXELS, _SMALL_PIXELS, _MARGIN_PIXELS = 420, 200, 14
_PAPER, _FAINT, _RED = (255, 255, 255), (210, 210, 216), (214, 40, 57)
_ROUNDS = 150  # of the spring layout


def graph(run: Run) -> Section | None:
    """Return the plane of a node classifier's hidden layer, or that of a graph classifier's readouts with some of the graphs."""
    gallery = run.gallery
    if {"node_places", "node_targets", "node_predictions", "node_judged"} <= gallery.keys():
        return Section("graph", "Nodes", _nodes(run), template="figures")
    if {"graph_nodes", "graph_edges", "graph_targets", "graph_predictions"} <= gallery.keys():
        return Section("graph", "Graphs", _graphs(run), template="figures")
    return None


def _nodes(run: Run) -> dict[str, Any]:
    shown = run.gallery
    targets, predictions, judged = shown["node_targets"], shown["node_predictions"], shown["node_judged"].astype(bool)
    names = _class_names(run, int(targets.max()) + 1)
    colours = palette(len(names))
    wrong = judged & (targets != predictions)
    pictures = [
        {"address": png(scatter(shown["node_places"], colours[targets])), "caption": "all nodes, true class"},
        {"address": png(scatter(shown["node_places"][judged], colours[predictions[judged]])), "caption": "judged nodes, predicted class"},
        {"address": png(scatter(shown["node_places"][judged], np.where(wrong[judged, None], _RED, _FAINT))), "caption": "judged nodes, wrong in red"},
    ]
    counted = f"Split {run.judged_split}: {judged.sum():,} of {len(judged):,} nodes are judged."
    intro = f"The hidden layer of each node in its first two principal components. {counted}"
    return {"intro": intro, "figures": [_legend(names, colours), {"title": "Nodes in the plane", "pictures": pictures}]}


def _graphs(run: Run) -> dict[str, Any]:
    shown = run.gallery
    targets, predictions = shown["graph_targets"], shown["graph_predictions"]
    names = _class_names(run, int(max(targets.max(), predictions.max())) + 1)
    figures = []
    if "graph_places" in shown:
        colours = palette(len(names))
        places = [("true class", colours[targets]), ("wrong in red", np.where((targets != predictions)[:, None], _RED, _FAINT))]
        pictures = [{"address": png(scatter(shown["graph_places"], colour, 4)), "caption": caption} for caption, colour in places]
        figures = [_legend(names, colours), {"title": "Readouts in the plane of their first two principal components", "pictures": pictures}]
    pictures = []
    for i in range(len(shown["graph_nodes_offsets"]) - 1):
        nodes, edges = (shown[key][shown[f"{key}_offsets"][i] : shown[f"{key}_offsets"][i + 1]] for key in ("graph_nodes", "graph_edges"))
        caption = f"{len(nodes)} nodes, {names[targets[i]]}, predicted {names[predictions[i]]}"
        pictures.append({"address": png(drawing(nodes, edges)), "caption": caption})
    figures.append({"title": f"The first graphs of split {run.judged_split}; a node's colour is its kind", "pictures": pictures})
    return {"figures": figures}


def scatter(places: np.ndarray, colours: np.ndarray, radius: int = 2) -> np.ndarray:
    """Draw points of the plane, `(N, 2)`, in their colours, `(N, 3)` -> uint8 `(S, S, 3)`. Each axis has a scale of its own."""
    picture = Image.new("RGB", (_SIDE_PIXELS, _SIDE_PIXELS), _PAPER)
    pen = ImageDraw.Draw(picture)
    for (x, y), colour in zip(_fitted(places, _SIDE_PIXELS), colours, strict=True):
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_colour(colour))
    return np.asarray(picture)


def drawing(nodes: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Draw a small graph, kinds of nodes `(V,)`, edges `(E, 2)` -> uint8 `(S, S, 3)`."""
    picture = Image.new("RGB", (_SMALL_PIXELS, _SMALL_PIXELS), _PAPER)
    pen = ImageDraw.Draw(picture)
    places, colours = _fitted(layout(len(nodes), edges), _SMALL_PIXELS), palette(int(nodes.max(initial=0)) + 1)
    for a, b in edges:
        pen.line((*places[a], *places[b]), fill=(120, 120, 128), width=1)
    for (x, y), kind in zip(places, nodes, strict=True):
        pen.ellipse((x - 4, y - 4, x + 4, y + 4), fill=_colour(colours[kind]))
    return np.asarray(picture)


def layout(nodes: int, edges: np.ndarray) -> np.ndarray:
    """Place nodes so that neighbours are near and others apart, `(V, 2)`: springs from a circle, no chance in it (Fruchterman and Reingold 1991)."""
    angle = 2 * math.pi * np.arange(nodes) / max(1, nodes)
    places = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    joined = np.zeros((nodes, nodes), bool)
    joined[edges[:, 0], edges[:, 1]] = True
    rest = 1.5 / math.sqrt(max(1, nodes))
    for step in range(_ROUNDS):
        apart = places[:, None] - places[None]
        distance = np.maximum(np.linalg.norm(apart, axis=2), 1e-3)
        push = rest**2 / distance - joined * distance**2 / rest
        move = (apart / distance[..., None] * push[..., None]).sum(1)
        length = np.maximum(np.linalg.norm(move, axis=1, keepdims=True), 1e-9)
        places = places + move / length * np.minimum(length, 0.1 * (1 - step / _ROUNDS))
    return places


def _fitted(places: np.ndarray, side: int) -> list[tuple[float, float]]:
    low, high = places.min(axis=0, initial=np.inf), places.max(axis=0, initial=-np.inf)
    scale = (side - 2 * _MARGIN_PIXELS) / np.where(high > low, high - low, 1.0)
    return [(float(x), side - float(y)) for x, y in _MARGIN_PIXELS + (places - low) * scale]


def _legend(names: list[str], colours: np.ndarray) -> dict[str, Any]:
    swatches = [np.full((24, 24, 3), colour, np.uint8) for colour in colours]
    return {"title": "Legend", "pictures": [{"address": png(swatch), "caption": name} for name, swatch in zip(names, swatches, strict=True)]}


def _class_names(run: Run, count: int) -> list[str]:
    rows = (run.metrics.get(run.judged_split) or {}).get("per_class") or []
    names = [str(row["class"]) for row in rows]
    return names if len(names) >= count else [str(k) for k in range(count)]


def _colour(values: Iterable[int]) -> tuple[int, int, int]:
    red, green, blue = (int(v) for v in values)
    return red, green, blue
