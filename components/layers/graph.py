"""What a graph's edges do to what its nodes hold: shifts, the shift of Kipf and Welling, polynomial filters, sums over each graph.

Several graphs are one graph without edges between them: nodes end to end, edges renumbered (a block-diagonal shift operator).

Legend: V nodes, E directed edges, F features, B graphs. Edge e goes from node `edges[0, e]` to node `edges[1, e]`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def shift(signal: Tensor, edges: Tensor, weights: Tensor | None = None) -> Tensor:
    """Apply the graph shift operator once, `y = S x` with `S[to, from] = weight` (notes 002 L4421, 004 M45): each node sums what comes in.

    Args:
        signal: `(V, F)`.
        edges: `(2, E)` int64.
        weights: `(E,)`; None: 1, the adjacency matrix. An edge that stands twice counts twice.

    Returns:
        `(V, F)`, summed in float32 at least: half precision loses a large node's neighbours.
    """
    coming = signal.float() if signal.dtype in (torch.float16, torch.bfloat16) else signal
    coming = coming.index_select(0, edges[0])
    if weights is not None:
        coming = coming * weights[:, None].to(coming.dtype)
    return coming.new_zeros(signal.shape).index_add_(0, edges[1], coming)


def kipf(edges: Tensor, nodes: int) -> tuple[Tensor, Tensor]:
    """Return edges `(2, E + V)` and weights `(E + V,)` of `D^-1/2 (A + I) D^-1/2`, D the degrees of A + I (Kipf and Welling 2017, eq. 2).

    The loop at each node is why an isolated one has degree 1 and divides by nothing; the notes' `D^-1/2 A D^-1/2` (002 L4411) is infinite there.
    """
    loops = torch.arange(nodes, device=edges.device).expand(2, nodes)
    looped = torch.cat([edges, loops], dim=1)
    degrees = torch.zeros(nodes, device=edges.device).index_add_(0, looped[1], torch.ones(looped.shape[1], device=edges.device))
    scale = degrees.rsqrt()
    return looped, scale[looped[0]] * scale[looped[1]]


def polynomial_filter(signal: Tensor, edges: Tensor, taps: Sequence[float] | Tensor, weights: Tensor | None = None) -> Tensor:
    """Return `sum_k taps[k] S^k x`, `(V, F) -> (V, F)`, by shifting what was shifted, `x_(k+1) = S x_k` (notes 002 M50, L4427; 004 M45)."""
    out, shifted = taps[0] * signal, signal
    for tap in taps[1:]:
        shifted = shift(shifted, edges, weights)
        out = out + tap * shifted
    return out


def join(edges: Tensor, edge_offsets: Tensor, node_offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Make one graph of those of a ragged batch.

    Args:
        edges: `(E, 2)` from, to, each counted from its own graph's first node.
        edge_offsets: `(B + 1,)`, where each graph's edges start.
        node_offsets: `(B + 1,)`, where each graph's nodes start.

    Returns:
        `(2, E)` edges counted over all nodes, and `(V,)` int64, each node's graph.
    """
    graphs = torch.arange(node_offsets.shape[0] - 1, device=edges.device)
    firsts = node_offsets[:-1].repeat_interleave(edge_offsets.diff())
    return (edges + firsts[:, None]).T, graphs.repeat_interleave(node_offsets.diff())


def read_out(signal: Tensor, owners: Tensor, graphs: int, kind: str) -> Tensor:
    """Return one row a graph, `(V, F) -> (B, F)`: the sum of its nodes (`R = 1^T`, notes 002 M51), their mean, or the greatest of each feature.

    Args:
        owners: `(V,)`, each node's graph.
        graphs: B. A graph without nodes has zeros.
        kind: "sum", "mean" or "max".
    """
    reduce = {"sum": "sum", "mean": "mean", "max": "amax"}[kind]
    empty = signal.new_zeros(graphs, signal.shape[1])
    return empty.scatter_reduce(0, owners[:, None].expand_as(signal), signal, reduce, include_self=False)
