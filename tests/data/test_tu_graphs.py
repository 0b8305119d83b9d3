"""The reader of TU's graphs: a tiny archive of its format, and the real one where the mirror has it."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest

from components.data.sources.tu_graphs import read_tu_graphs
from components.errors import UserError
from tests.systems.tiny import mutag as tiny

LABELS = {"chain": 0, "ring": 2}


@pytest.fixture
def raw(tmp_path):
    tiny.write(tmp_path)
    return tmp_path


def read(raw, fold=0, name="MUTAG", labels=LABELS, tags=3):
    return read_tu_graphs(raw, name, labels, tags, fold, validation_fraction=0.25, seed=0)


def test_a_row_is_a_graph_with_its_own_numbering(raw):
    test = read(raw, fold=1).splits["test"]  # graphs 4 to 7: number 5 is a ring of five nodes
    nodes, edges = (test[name].values[test[name].offsets[1] : test[name].offsets[2]] for name in ("nodes", "edges"))
    assert nodes.tolist() == [2, 0, 1, 2, 0, 1, 2, 0][: len(nodes)] and len(nodes) == 4 + 5 % 5
    assert sorted(map(tuple, edges.tolist())) == [(0, 1), (0, 3), (1, 0), (1, 2), (2, 1), (2, 3), (3, 0), (3, 2)]
    assert test["targets"].tolist() == [0, 1, 0, 1]
    assert read(raw, labels={"ring": 2, "chain": 0}).columns["targets"].classes == ("chain", "ring")


def test_folds_part_the_graphs_and_validation_is_of_the_training_part(raw):
    seen = []
    for fold in range(10):
        sizes = {split: len(columns["targets"]) for split, columns in read(raw, fold).splits.items()}
        assert sizes == {"train": 27, "validation": 9, "test": 4}
        test = read(raw, fold).splits["test"]
        seen += np.diff(test["nodes"].offsets).tolist()
    assert seen == [4 + i % 5 for i in range(40)]


def test_what_is_wrong_is_told(raw):
    with pytest.raises(UserError, match="no such fold"):
        read(raw, fold=10)
    with pytest.raises(UserError, match="without a name"):
        read(raw, labels={"chain": 0, "ring": 1})
    with pytest.raises(UserError, match="without a name"):
        read(raw, tags=2)
    with zipfile.ZipFile(raw / "tu_graphs.zip", "w") as archive:
        archive.writestr("MUTAG/MUTAG.txt", "1\n2 0\n0 1 1\n0 1 2\n")  # the second node's neighbour is not there
    with pytest.raises(UserError, match="no list of graphs"):
        read(raw)


def test_the_real_sets_have_their_published_sizes(mirror):
    """TU Dortmund's table: MUTAG 188 graphs, 17.93 nodes and 19.79 edges; PROTEINS 1,113, 39.06, 72.82."""
    for name, labels, tags, graphs, nodes, edges in (
        ("MUTAG", {"no": 0, "yes": 2}, 7, 188, 17.93, 19.79),
        ("PROTEINS", {"enzyme": 0, "no": 1}, 3, 1113, 39.06, 72.82),
    ):
        splits = read(mirror, 9, name, labels, tags).splits.values()
        assert sum(len(s["targets"]) for s in splits) == graphs
        assert sum(len(s["nodes"].values) for s in splits) / graphs == pytest.approx(nodes, abs=0.005)
        assert sum(len(s["edges"].values) for s in splits) / 2 / graphs == pytest.approx(edges, abs=0.005)
