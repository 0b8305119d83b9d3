"""Shifts and filters against the notes' figures and dense matrices; readouts; joining."""

from __future__ import annotations

import pytest
import torch

from components.layers.graph import join, kipf, polynomial_filter, read_out, shift

PATH = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])  # three nodes in a row
# Notes 002 R21 (Fig. 156): five nodes, degrees (2, 3, 3, 2, 2); the printed D, (3, 3, 3, 2, 2), is wrong.
FIVE = [(0, 1), (0, 2), (1, 2), (1, 3), (2, 4), (3, 4)]


def both_ways(pairs):
    return torch.tensor([*pairs, *[(b, a) for a, b in pairs]]).T


def dense(edges, nodes, weights=None):
    out = torch.zeros(nodes, nodes, dtype=torch.float64)
    return out.index_put_(
        (edges[1], edges[0]), torch.ones(edges.shape[1], dtype=torch.float64) if weights is None else weights.double(), accumulate=True
    )


def test_a_polynomial_filter_gives_the_notes_figures():
    """004 T16: x = (1, 2, 3), h = (1, .5, .25): S x = (2, 4, 2), S^2 x = (4, 4, 4), y = (3, 5, 5)."""
    x = torch.tensor([[1.0], [2.0], [3.0]])
    assert shift(x, PATH).flatten().tolist() == [2, 4, 2]
    assert shift(shift(x, PATH), PATH).flatten().tolist() == [4, 4, 4]
    assert polynomial_filter(x, PATH, [1.0, 0.5, 0.25]).flatten().tolist() == [3, 5, 5]


def test_the_laplacian_of_the_notes_graph_has_its_eigenvalues():
    """002 R21: 0, 1.382, 2.382, 3.618, 4.618; normalised 0, .6667, 1, 1.5, 1.8333."""
    adjacency = dense(both_ways(FIVE), 5)
    degrees = adjacency.sum(1)
    assert degrees.tolist() == [2, 3, 3, 2, 2]
    laplacian = torch.diag(degrees) - adjacency
    assert torch.linalg.eigvalsh(laplacian).tolist() == pytest.approx([0, 1.382, 2.382, 3.618, 4.618], abs=5e-4)
    scale = degrees.rsqrt()
    normalised = torch.eye(5) - scale[:, None] * adjacency * scale
    assert torch.linalg.eigvalsh(normalised).tolist() == pytest.approx([0, 0.6667, 1, 1.5, 1.8333], abs=5e-5)


def test_kipf_is_the_dense_formula_and_an_isolated_node_keeps_itself():
    edges = both_ways(FIVE)
    looped, weights = kipf(edges, 6)  # node 5 has no edge
    adjacency = dense(edges, 6) + torch.eye(6)
    scale = adjacency.sum(1).rsqrt()
    torch.testing.assert_close(dense(looped, 6, weights), scale[:, None] * adjacency * scale, rtol=1e-6, atol=1e-7)
    assert shift(torch.ones(6, 1), looped, weights)[5] == 1


def test_a_filter_does_not_depend_on_the_numbering():
    """002 T43: f(P x, P S P^T) = P f(x, S)."""
    generator = torch.Generator().manual_seed(0)
    x, order = torch.randn(5, 3, generator=generator, dtype=torch.float64), torch.randperm(5, generator=generator)
    edges, place = both_ways(FIVE), order.argsort()
    renumbered = polynomial_filter(x[order], place[edges], [0.3, -1.0, 0.7])
    torch.testing.assert_close(renumbered, polynomial_filter(x, edges, [0.3, -1.0, 0.7])[order])


def test_shift_has_the_gradient_of_its_sum():
    x = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: polynomial_filter(v, both_ways(FIVE), [1.0, 0.5, 0.25]), x)


def test_half_precision_is_summed_in_float32():
    star = torch.stack([torch.arange(1, 1001), torch.zeros(1000, dtype=torch.int64)])
    assert shift(torch.ones(1001, 1, dtype=torch.bfloat16), star)[0] == 1000  # bfloat16 would stop at 256


def test_joined_graphs_have_their_own_edges_and_readouts():
    """The path of three nodes, a graph of one node, and a pair."""
    edges = torch.tensor([(0, 1), (1, 0), (1, 2), (2, 1), (0, 1), (1, 0)])
    joined, owners = join(edges, torch.tensor([0, 4, 4, 6]), torch.tensor([0, 3, 4, 6]))
    assert joined.T.tolist() == [[0, 1], [1, 0], [1, 2], [2, 1], [4, 5], [5, 4]] and owners.tolist() == [0, 0, 0, 1, 2, 2]
    signal = torch.tensor([1.0, 2, 3, -7, 5, 8])[:, None]
    assert read_out(signal, owners, 3, "sum").flatten().tolist() == [6, -7, 13]
    assert read_out(signal, owners, 3, "mean").flatten().tolist() == [2, -7, 6.5]
    assert read_out(signal, owners, 3, "max").flatten().tolist() == [3, -7, 8]
    assert read_out(signal, owners, 4, "max")[3] == 0
