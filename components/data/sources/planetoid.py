"""Citation graphs in Planetoid's format (Yang, Cohen and Salakhutdinov 2016, github.com/kimiyoung/planetoid): Cora, Citeseer, Pubmed.

The files are pickles of Python 2 that hold numpy arrays and scipy matrices. A pickle may call anything, so they are opened by an unpickler that
knows six names and no other; scipy is not needed.

Legend: N nodes, F words, K classes, E directed edges.
"""

from __future__ import annotations

import pickle
from collections import defaultdict
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from components.data.card import Column
from components.data.columns import Columns, SourceData
from components.errors import UserError

Counts = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.int64]


class _Sparse:
    """What a pickled `scipy.sparse.csr_matrix` is rebuilt as: its arrays, nothing to call."""

    data: npt.NDArray[Any]
    indices: npt.NDArray[Any]
    indptr: npt.NDArray[Any]
    _shape: tuple[int, int]

    def dense(self) -> Counts:
        """(N, F) uint8; Planetoid's words are 0 or 1."""
        out = np.zeros(self._shape, np.uint8)
        rows = np.repeat(np.arange(self._shape[0]), np.diff(self.indptr))
        out[rows, self.indices] = self.data
        return out


# numpy's own name of the function that rebuilds an array differs between its versions; asking an array for it does not.
_REBUILD_ARRAY = np.empty(0).__reduce__()[0]


class RestrictedUnpickler(pickle.Unpickler):
    """Takes numpy arrays, `scipy.sparse.csr_matrix`, `defaultdict(list)`, and refuses every other name before anything of it is called."""

    ALLOWED: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy.core.multiarray", "_reconstruct"): _REBUILD_ARRAY,
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("scipy.sparse.csr", "csr_matrix"): _Sparse,
        ("collections", "defaultdict"): defaultdict,
        ("__builtin__", "list"): list,
    }

    def find_class(self, module: str, name: str) -> Any:
        """Return what an allowed name stands for.

        Raises:
            pickle.UnpicklingError: the name is not allowed.
        """
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"the pickle asks for {module}.{name}, which no Planetoid file holds")
        return self.ALLOWED[module, name]


def unpickle(path: Path) -> Any:
    """Read one file.

    Raises:
        UserError: it is no pickle, or asks for more than arrays.
    """
    try:
        with open(path, "rb") as stream:
            return RestrictedUnpickler(stream, encoding="latin1").load()
    except (pickle.UnpicklingError, EOFError, ValueError, IndexError, TypeError) as error:
        raise UserError(f"{path.name} is no file of Planetoid's: {error}", received=path, mend="get it from its origin again") from error


def read_planetoid(raw: Path, name: str, classes: list[str], validation_nodes: int = 500) -> SourceData:
    """Read a citation graph with its public split. Each split is one row, the same whole graph; `judged` differs (transductive learning).

    Training nodes are the first ones (20 a class in Cora), the `validation_nodes` that follow validate, test.index names the test nodes.
    Citations have no direction: each edge stands twice, once each way; repeated ones and those from a node to itself are left out.

    Args:
        raw: holds `ind.<name>.{x,y,allx,ally,tx,ty,graph,test.index}`.
        name: "cora".
        classes: the names of labels 0, 1, ...
        validation_nodes: of the public split 500.

    Returns:
        Columns of one row: `inputs` uint8 `(N, F)`, `edges` int64 `(2, E)` from, to; `targets` int64 `(N,)`; `judged` uint8 `(1, N)`, 1 where
        the split's loss and scores count the node (one channel: a card's statistics are per channel).

    Raises:
        UserError: a file is missing, is no Planetoid file, or the files do not fit together.
    """
    words, labels, test = _nodes(raw, name)
    edges = _edges(_content(raw, name, "graph"), len(words))
    train = len(_content(raw, name, "y"))
    if labels.shape[1] != len(classes) or (labels.sum(axis=1) != 1).any():
        raise UserError(f"ind.{name}.ally has other classes than named", received=f"{labels.shape[1]} classes", expected=classes)
    nodes = {"train": np.arange(train), "validation": np.arange(train, train + validation_nodes), "test": np.sort(test)}
    targets = labels.argmax(axis=1).astype(np.int64)
    splits: dict[str, Columns] = {
        split: {"inputs": words[None], "edges": edges[None], "targets": targets[None], "judged": _marked(chosen, len(words))[None, None]}
        for split, chosen in nodes.items()
    }
    columns = {
        "inputs": Column("uint8", words.shape),
        "edges": Column("int64", edges.shape),
        "targets": Column("int64", targets.shape, classes=tuple(classes)),
        "judged": Column("uint8", (1, *targets.shape)),
    }
    return SourceData(columns, splits)


def _content(raw: Path, name: str, part: str) -> Any:
    path = raw / f"ind.{name}.{part}"
    if not path.is_file():
        raise UserError(f"{path.name} is missing", received=sorted(p.name for p in raw.iterdir()))
    return unpickle(path)


def _nodes(raw: Path, name: str) -> tuple[Counts, Counts, Integers]:
    """Words (N, F) and one-hot labels (N, K) of all nodes in the graph's numbering, and which nodes are the test's, (T,)."""
    parts = [np.vstack([_dense(_content(raw, name, known)), _dense(_content(raw, name, test))]) for known, test in (("allx", "tx"), ("ally", "ty"))]
    test = np.loadtxt(raw / f"ind.{name}.test.index", dtype=np.int64, ndmin=1)
    count = len(parts[0])
    if sorted(test) != list(range(count - len(test), count)):
        raise UserError(f"ind.{name}.test.index does not name the last nodes", received=f"{len(test)} test nodes of {count}")
    for part in parts:  # the test's rows lie in the order of test.index
        part[test] = part[count - len(test) :].copy()
    return parts[0], parts[1], test


def _dense(found: Any) -> Counts:
    return found.dense() if isinstance(found, _Sparse) else np.asarray(found, np.uint8)


def _edges(neighbours: dict[int, list[int]], nodes: int) -> Integers:
    """(2, E), ordered by the first node, then the second."""
    pairs = np.array([(a, b) for a, others in neighbours.items() for b in others], dtype=np.int64).reshape(-1, 2)
    both = np.vstack([pairs, pairs[:, ::-1]])
    both = np.unique(both[both[:, 0] != both[:, 1]], axis=0)
    if len(both) and (both.min() < 0 or both.max() >= nodes):
        raise UserError("the graph names a node that has no words", received=int(both.max()), expected=f"0..{nodes - 1}")
    return np.ascontiguousarray(both.T)


def _marked(chosen: Integers, nodes: int) -> Counts:
    marks = np.zeros(nodes, np.uint8)
    marks[chosen] = 1
    return marks
