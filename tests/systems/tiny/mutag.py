"""Rings and chains of atoms, forty of them, in the text of TU's collection with ten folds: rings are one class, chains the other."""

from __future__ import annotations

import zipfile
from pathlib import Path

GRAPHS = 40
PREPARE: dict[str, object] = {"validation_fraction": 0.2}
EXPERIMENT = {"graph/gcn_mutag": ["model.hidden=8", "model.layers=2"]}


def write(raw: Path) -> None:
    with zipfile.ZipFile(raw / "tu_graphs.zip", "w") as archive:
        for name, labels in (("MUTAG", (0, 2)), ("PROTEINS", (0, 1))):
            archive.writestr(f"{name}/{name}.txt", f"{GRAPHS}\n" + "".join(graph(i, labels[i % 2]) for i in range(GRAPHS)))
            for fold in range(10):
                test = [i for i in range(GRAPHS) if i // 4 == fold]
                train = [i for i in range(GRAPHS) if i // 4 != fold]
                for part, rows in (("test", test), ("train", train)):
                    archive.writestr(f"{name}/10fold_idx/{part}_idx-{fold + 1}.txt", "\n".join(map(str, rows)))


def graph(number: int, label: int) -> str:
    nodes, ring = 4 + number % 5, number % 2
    lines = [f"{nodes} {label}"]
    for node in range(nodes):
        others = sorted({(node + step) % nodes for step in (-1, 1) if ring or 0 <= node + step < nodes})
        lines.append(" ".join(map(str, [(node + number) % 3, len(others), *others])))
    return "\n".join(lines) + "\n"
