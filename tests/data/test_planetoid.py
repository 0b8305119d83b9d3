"""Planetoid's reader: a tiny graph in its format, the real Cora where the mirror has it, and pickles that ask for more than arrays."""

from __future__ import annotations

import pickle
import zipfile
from collections import Counter

import numpy as np
import pytest

from components.data.sources.planetoid import read_planetoid, unpickle
from components.errors import UserError
from tests.systems.tiny import cora as tiny

CLASSES = [str(k) for k in range(7)]


@pytest.fixture
def raw(tmp_path):
    tiny.write(tmp_path)
    return tmp_path


def test_splits_are_the_same_graph_with_other_nodes_judged(raw):
    data = read_planetoid(raw, "cora", CLASSES, validation_nodes=8)
    assert {s: np.flatnonzero(c["judged"][0, 0]).tolist() for s, c in data.splits.items()} == {
        "train": list(range(14)),
        "validation": list(range(14, 22)),
        "test": list(range(22, 30)),
    }
    for split in ("validation", "test"):
        for column in ("inputs", "edges", "targets"):
            assert np.array_equal(data.splits[split][column], data.splits["train"][column])


def test_test_nodes_come_back_into_the_graph_s_order(raw):
    """tx lies in the order of test.index, which is no order: node n must have label n mod 7 and that label's words."""
    train = read_planetoid(raw, "cora", CLASSES, validation_nodes=8).splits["train"]
    assert train["targets"][0].tolist() == [n % 7 for n in range(30)]
    assert all(train["inputs"][0, n, 3 * (n % 7) : 3 * (n % 7) + 3].all() for n in range(30))


def test_edges_go_both_ways_once_without_loops(raw):
    edges = read_planetoid(raw, "cora", CLASSES, validation_nodes=8).splits["train"]["edges"][0]
    pairs = Counter(map(tuple, edges.T.tolist()))
    assert set(pairs.values()) == {1} and all(a != b and (b, a) in pairs for a, b in pairs)
    assert {(0, 1), (0, 7), (0, 23), (0, 29)} == {pair for pair in pairs if pair[0] == 0}


@pytest.mark.parametrize("value", [pickle.Unpickler, print, np.load, Counter()])
def test_a_pickle_that_names_anything_else_is_refused(tmp_path, value):
    (tmp_path / "ind.cora.graph").write_bytes(pickle.dumps(value, protocol=2))
    with pytest.raises(UserError, match="asks for"):
        unpickle(tmp_path / "ind.cora.graph")


def test_a_pickle_that_would_run_a_command_runs_nothing(tmp_path):
    content = b"cos\nsystem\n(S'touch " + str(tmp_path / "ran").encode() + b"'\ntR."
    (tmp_path / "ind.cora.x").write_bytes(content)
    with pytest.raises(UserError, match=r"asks for os\.system"):
        unpickle(tmp_path / "ind.cora.x")
    assert not (tmp_path / "ran").exists()


def test_what_is_wrong_is_told(raw):
    with pytest.raises(UserError, match="other classes"):
        read_planetoid(raw, "cora", CLASSES[:-1])
    (raw / "ind.cora.test.index").write_text("3\n4\n")
    with pytest.raises(UserError, match="last nodes"):
        read_planetoid(raw, "cora", CLASSES)
    (raw / "ind.cora.graph").write_bytes(b"no pickle")
    with pytest.raises(UserError, match="no file of Planetoid"):
        unpickle(raw / "ind.cora.graph")
    (raw / "ind.cora.tx").unlink()
    with pytest.raises(UserError, match="missing"):
        read_planetoid(raw, "cora", CLASSES)


def test_the_real_cora_has_its_published_size(mirror, tmp_path):
    """2,708 nodes, 5,278 distinct citations, 20 training nodes a class; classes as McCallum et al. 2000 count them."""
    with zipfile.ZipFile(mirror / "cora.zip") as archive:
        archive.extractall(tmp_path)
    data = read_planetoid(tmp_path, "cora", CLASSES)
    train = data.splits["train"]
    assert train["inputs"].shape == (1, 2708, 1433) and train["edges"].shape == (1, 2, 2 * 5278)
    assert np.bincount(train["targets"][0]).tolist() == [351, 217, 418, 818, 426, 298, 180]
    assert np.bincount(train["targets"][0][train["judged"][0, 0] == 1]).tolist() == [20] * 7
    assert [int(data.splits[s]["judged"].sum()) for s in ("train", "validation", "test")] == [140, 500, 1000]
