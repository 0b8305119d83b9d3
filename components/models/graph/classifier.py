"""Classification of whole graphs: graph convolutions and a readout (notes 002 M51 and M54; 004 M45).

Legend: V nodes of the batch end to end, E edges of the batch, B graphs, T kinds of nodes, H hidden features, K classes.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.layers.dropout import Dropout
from components.layers.graph import join, kipf, read_out, shift


class GraphClassifier(nn.Module):
    """Layers `X_l = MLP(S X_(l-1))`, a readout of every layer (the nodes' tags among them), and a linear map of all readouts.

    With `shift="sum"`, S = A + (1 + eps) I with a learned eps: the graph isomorphism network (Xu et al. 2019, "How powerful are graph neural
    networks?", eq. 4.1 and 4.2). With `shift="kipf"`, S = D^-1/2 (A + I) D^-1/2: a GCN, which sees a neighbourhood's mean and not its size.

    Args:
        tags: T, the kinds of nodes, taken as one-hot features.
        num_classes: K.
        hidden: H.
        layers: number of graph convolutions.
        shift: the graph shift operator.
        readout: what a graph is of its nodes.
        dropout: of the readouts.
    """

    def __init__(
        self,
        tags: int,
        num_classes: int,
        hidden: int = 32,
        layers: int = 4,
        shift: Literal["sum", "kipf"] = "sum",
        readout: Literal["sum", "mean", "max"] = "sum",
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.tags, self.shift, self.readout = tags, shift, readout
        widths = [tags] + [hidden] * layers
        self.layers = nn.ModuleList(_perceptron(before, hidden) for before in widths[:-1])
        self.own = nn.ParameterList(nn.Parameter(torch.zeros(())) for _ in widths[1:]) if shift == "sum" else None  # eps of each layer
        self.dropout = Dropout(dropout)
        self.classifier = nn.Linear(sum(widths), num_classes)

    def embed(self, nodes: Tensor, node_offsets: Tensor, edges: Tensor, edge_offsets: Tensor) -> Tensor:
        """Return all readouts side by side, (B, T + layers H); arguments as of `forward`."""
        joined, owners = join(edges, edge_offsets, node_offsets)
        weights = None
        if self.own is None:
            joined, weights = kipf(joined, nodes.shape[0])
        signal = F.one_hot(nodes, self.tags).to(torch.get_default_dtype())
        found = [read_out(signal, owners, node_offsets.shape[0] - 1, self.readout)]
        for number, layer in enumerate(self.layers):
            mixed = shift(signal, joined, weights)
            signal = layer(mixed if self.own is None else mixed + (1 + self.own[number]) * signal)
            found.append(read_out(signal.float(), owners, node_offsets.shape[0] - 1, self.readout))
        return torch.cat(found, dim=1)

    def forward(self, nodes: Tensor, node_offsets: Tensor, edges: Tensor, edge_offsets: Tensor) -> Tensor:
        """Ragged graphs to logits, `(V,) -> (B, K)`.

        Args:
            nodes: `(V,)` int64 tags.
            node_offsets: `(B + 1,)`, where each graph's nodes start.
            edges: `(E, 2)` from, to, each counted from its own graph's first node.
            edge_offsets: `(B + 1,)`, where each graph's edges start.
        """
        logits: Tensor = self.classifier(self.dropout(self.embed(nodes, node_offsets, edges, edge_offsets)))
        return logits


def _perceptron(before: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(before, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(),
        nn.Linear(hidden, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(),
    )  # fmt: skip
