"""A citation graph of 30 papers in seven fields, in Planetoid's files: pickles with the names that Python 2 gave."""

from __future__ import annotations

import io
import pickle
import struct
from collections import defaultdict
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

NODES, WORDS, CLASSES, TRAIN, TEST = 30, 24, 7, 14, 8
PREPARE: dict[str, object] = {"validation_nodes": 8}
EXPERIMENT = {"graph/gcn_cora": [f"model.in_features={WORDS}", "model.hidden=8"]}


def write(raw: Path) -> None:
    rng = np.random.default_rng(3)
    labels = np.arange(NODES) % CLASSES
    words = (rng.random((NODES, WORDS)) < 0.1).astype(np.float32)
    for node, label in enumerate(labels):
        words[node, 3 * label : 3 * label + 3] = 1
    neighbours = defaultdict(list, {node: [(node + CLASSES) % NODES, (node + 1) % NODES] for node in range(NODES)})
    neighbours[0] += [0, 1]  # a loop and a repeated citation, which the reader leaves out
    one_hot = np.eye(CLASSES, dtype=np.int32)[labels]
    known = NODES - TEST
    test = np.arange(known, NODES)[::-1]  # test.index is in no order
    parts = {"x": words[:TRAIN], "allx": words[:known], "tx": words[test]}
    for part, dense in parts.items():
        write_pickle(raw / f"ind.cora.{part}", sparse(dense))
        write_pickle(raw / f"ind.cora.{part.replace('x', 'y')}", one_hot[test] if part == "tx" else one_hot[: len(dense)])
    write_pickle(raw / "ind.cora.graph", neighbours)
    (raw / "ind.cora.test.index").write_text("".join(f"{node}\n" for node in test))


class csr_matrix:
    """The state that scipy's matrix pickles."""

    def __init__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


def sparse(dense: np.ndarray) -> csr_matrix:
    rows, columns = np.nonzero(dense)
    starts = np.searchsorted(rows, np.arange(len(dense) + 1)).astype(np.int32)
    return csr_matrix({"_shape": dense.shape, "data": dense[rows, columns], "indices": columns.astype(np.int32), "indptr": starts})


class Python2Pickler(pickle._Pickler):  # type: ignore[misc,name-defined]
    """Writes bytes as Python 2 wrote its `str`; Python 3's protocol 2 would write a call of `_codecs.encode`."""

    dispatch: ClassVar[dict[Any, Any]] = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def save_string(self, content: bytes) -> None:
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)  # type: ignore[attr-defined]
        self.memoize(content)  # type: ignore[attr-defined]

    dispatch[bytes] = save_string


def write_pickle(path: Path, value: Any) -> None:
    """Pickle as Python 2 with the numpy and scipy of 2016 did, whose modules had other names."""
    stream = io.BytesIO()
    Python2Pickler(stream, protocol=2).dump(value)
    content = stream.getvalue().replace(f"c{__name__}\ncsr_matrix\n".encode(), b"cscipy.sparse.csr\ncsr_matrix\n")
    path.write_bytes(content.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))
