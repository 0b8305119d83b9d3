"""Sets of small labelled graphs from TU Dortmund's collection (Kersting et al. 2016), as text, with the ten folds of DGCNN (Zhang et al. 2018).

Legend: V nodes of all graphs end to end, E directed edges of all graphs end to end.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from components.data.card import Column
from components.data.columns import Columns, Ragged, SourceData
from components.data.splits import stratified_split
from components.errors import UserError

Integers = npt.NDArray[np.int64]
FOLDS = 10


@dataclass(frozen=True)
class _Graph:
    label: int
    tags: Integers  # (V,)
    edges: Integers  # (E, 2)


def read_tu_graphs(raw: Path, name: str, labels: dict[str, int], tags: int, fold: int, validation_fraction: float, seed: int) -> SourceData:
    """Read `<name>/<name>.txt` and one fold out of the archive, without unpacking it.

    The file says: the number of graphs; for each graph a line `nodes label`, and a line a node, `tag degree neighbour ...`.

    Args:
        raw: holds tu_graphs.zip.
        name: "MUTAG" or "PROTEINS".
        labels: name of a class -> its number in the file; classes are in the order of these numbers (a mapping's own order is lost on the way
            through params.yaml).
        tags: how many kinds of nodes there are, 0 to tags - 1.
        fold: 0 to 9: these graphs are the test's, of 10fold_idx/test_idx-<fold + 1>.txt.
        validation_fraction: of the fold's training graphs, stratified, by `seed`.

    Returns:
        `nodes` int64 ragged, each node's tag; `edges` int64 `(2,)` ragged, from, to, counted from the graph's first node, each edge both ways;
        `targets` int64 `()`.

    Raises:
        UserError: no such fold, or the file is no list of graphs, or a label or a tag has no name.
    """
    if not 0 <= fold < FOLDS:
        raise UserError("there is no such fold", received=f"fold={fold}", expected=f"0 to {FOLDS - 1}")
    with zipfile.ZipFile(raw / "tu_graphs.zip") as archive:
        graphs = _graphs(archive.read(f"{name}/{name}.txt").decode(), name)
        test, known = (_indices(archive, f"{name}/10fold_idx/{part}_idx-{fold + 1}.txt") for part in ("test", "train"))
    names = sorted(labels, key=lambda label: labels[label])
    numbers = [labels[label] for label in names]
    if {g.label for g in graphs} - set(numbers) or max(int(g.tags.max()) for g in graphs) >= tags:
        raise UserError(
            f"{name}.txt holds a label or a tag without a name", received=sorted({g.label for g in graphs}), expected=f"{labels}, {tags} tags"
        )
    if sorted([*test, *known]) != list(range(len(graphs))):
        raise UserError(
            f"fold {fold} of {name} does not part the graphs", received=f"{len(test)} + {len(known)}", expected=f"{len(graphs)} graphs, each once"
        )
    targets = np.array([numbers.index(g.label) for g in graphs], dtype=np.int64)
    parts = stratified_split(targets[known], {"validation": round(validation_fraction * len(known))}, "train", seed)
    rows = {**{split: known[found] for split, found in parts.items()}, "test": test}
    columns = {
        "nodes": Column("int64", ragged=True),
        "edges": Column("int64", (2,), ragged=True),
        "targets": Column("int64", classes=tuple(names)),
    }
    return SourceData(columns, {split: _columns(graphs, targets, rows[split]) for split in ("train", "validation", "test")})


def _graphs(text: str, name: str) -> list[_Graph]:
    lines = io.StringIO(text)
    graphs = []
    try:
        for _ in range(int(lines.readline())):
            nodes, label = (int(word) for word in lines.readline().split())
            rows = [[int(word) for word in lines.readline().split()] for _ in range(nodes)]
            graphs.append(_graph(label, rows))
    except (ValueError, IndexError) as error:
        raise UserError(f"{name}.txt is no list of graphs: {error}", received=f"graph {len(graphs)}") from error
    return graphs


def _graph(label: int, rows: list[list[int]]) -> _Graph:
    edges = [(node, other) for node, (_, degree, *others) in enumerate(rows) for other in others[:degree]]
    if any(len(row) != 2 + row[1] for row in rows) or any(not 0 <= other < len(rows) for _, other in edges):
        raise ValueError("a node's line does not name as many neighbours as it says, or one that is not there")
    return _Graph(label, np.array([row[0] for row in rows], np.int64), np.array(edges, np.int64).reshape(-1, 2))


def _indices(archive: zipfile.ZipFile, member: str) -> Integers:
    return np.sort(np.array(archive.read(member).split(), dtype=np.int64))


def _columns(graphs: list[_Graph], targets: Integers, rows: Integers) -> Columns:
    chosen = [graphs[row] for row in rows]
    return {"nodes": _ragged([g.tags for g in chosen]), "edges": _ragged([g.edges for g in chosen]), "targets": targets[rows]}


def _ragged(parts: list[Integers]) -> Ragged:
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
    return Ragged(np.concatenate(parts), offsets)
