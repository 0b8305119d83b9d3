"""GCN against its dense formula, masks of dropout by node; what tells graphs apart."""

from __future__ import annotations

import pytest
import torch

from components.data.draws import Draws
from components.layers.dropout import hand_draws, stochastic_layers
from components.models.graph.classifier import GraphClassifier
from components.models.graph.gcn import Gcn

RING = [(i, (i + 1) % 6) for i in range(6)]
TRIANGLES = [(0, 1), (1, 2), (2, 0), (3, 4), (4, 5), (5, 3)]


def both_ways(pairs):
    return torch.tensor([*pairs, *[(b, a) for a, b in pairs]])


def test_gcn_is_the_published_formula():
    """softmax is the loss's: A' relu(A' X W0) W1, Kipf and Welling 2017 eq. 9; Cora's has 1433 * 16 + 16 * 7 weights."""
    torch.manual_seed(0)
    model, x = Gcn(4, 3, hidden=5).eval(), torch.randn(2, 6, 4)
    edges = torch.stack([both_ways(RING).T, both_ways(TRIANGLES).T])
    for graph in range(2):
        adjacency = torch.eye(6).index_put_((edges[graph][0], edges[graph][1]), torch.ones(12))
        scale = adjacency.sum(1).rsqrt()
        s = scale[:, None] * adjacency * scale
        expected = s @ torch.relu(s @ x[graph] @ model.first.weight.T) @ model.second.weight.T
        torch.testing.assert_close(model(x, edges)[graph], expected)
    assert sum(p.numel() for p in Gcn(1433, 7).parameters()) == 23_040


def test_dropout_has_another_mask_for_each_node():
    model = Gcn(400, 3).train()
    hand_draws(stochastic_layers(model), Draws(0, 0, torch.tensor([0])))
    kept = model.first_dropout(torch.ones(1, 50, 400))[0] > 0
    assert len({tuple(row.tolist()) for row in kept}) == 50
    assert kept.float().mean() == pytest.approx(0.5, abs=0.02) and kept.float().mean(0).min() > 0.1


def ragged(*graphs):
    """Each graph (nodes, pairs) -> what the model takes."""
    edges = [both_ways(pairs) for _, pairs in graphs]
    offsets = [torch.tensor([0, *torch.tensor([len(p) for p in parts]).cumsum(0).tolist()]) for parts in ([range(n) for n, _ in graphs], edges)]
    return torch.zeros(int(offsets[0][-1]), dtype=torch.int64), offsets[0], torch.cat(edges), offsets[1]


def test_what_such_networks_can_tell_apart():
    """A ring of 6 and two of 3 look the same to all of them (Xu et al. 2019): every node has two like itself. Stars of 3 and 5 do not."""
    for kind in ("sum", "kipf"):
        torch.manual_seed(0)
        model = GraphClassifier(2, 2, hidden=32, layers=2, shift=kind, readout="mean").eval()
        two_triangles, ring = model(*ragged((6, TRIANGLES), (6, RING)))
        torch.testing.assert_close(two_triangles, ring)
        small, large = model.embed(*ragged((4, [(0, i) for i in range(1, 4)]), (6, [(0, i) for i in range(1, 6)])))
        assert (small - large).abs().max() > 1e-3


def test_a_graph_s_logits_are_its_own_whatever_the_batch_and_numbering():
    torch.manual_seed(1)
    model = GraphClassifier(2, 3, hidden=8, layers=2).eval()
    path = [(0, 1), (1, 2), (2, 3)]
    renumbered = [(3, 1), (1, 0), (0, 2)]
    together, alone = model(*ragged((6, RING), (4, path))), model(*ragged((4, renumbered)))
    torch.testing.assert_close(together[1:], alone)
