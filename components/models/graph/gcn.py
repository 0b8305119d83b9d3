"""Graph convolutional network for the nodes of a graph (Kipf and Welling 2017; notes 002 M53, in the MIMO form of M54).

`X_l = g(S X_(l-1) H_l)` with S = D^-1/2 (A + I) D^-1/2: the notes' sum over k has its one term k = 1, and S holds the node itself.

Legend: B graphs, V nodes of each, F features, K classes, E edges of each.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.layers.dropout import Dropout
from components.layers.graph import kipf, shift


class Gcn(nn.Module):
    """Two graph convolutions with a ReLU between, dropout before each. No biases, and Glorot's weights, as in the authors' code.

    Cora (F = 1433, K = 7) with 16 hidden units: 23,040 parameters.

    Args:
        in_features: F.
        num_classes: K.
        hidden: features between the two.
        dropout: probability, of input features as well as of hidden ones; each node has its own mask.
    """

    def __init__(self, in_features: int, num_classes: int, hidden: int = 16, dropout: float = 0.5) -> None:
        super().__init__()
        self.first = nn.Linear(in_features, hidden, bias=False)
        self.second = nn.Linear(hidden, num_classes, bias=False)
        for layer in (self.first, self.second):
            nn.init.xavier_uniform_(layer.weight)
        # A sample is a graph, and a mask is drawn over all that a sample holds: so (B, V, F) goes in, never (V, F).
        self.first_dropout, self.second_dropout = Dropout(dropout), Dropout(dropout)

    def embed(self, inputs: Tensor, edges: Tensor) -> Tensor:
        """(B, V, F), (B, 2, E) -> what the hidden layer holds of each node, (B, V, hidden)."""
        return torch.relu(_convolve(self.first_dropout(inputs), self.first, edges))

    def forward(self, inputs: Tensor, edges: Tensor) -> Tensor:
        """(B, V, F), edges (B, 2, E) from, to -> logits (B, V, K)."""
        return _convolve(self.second_dropout(self.embed(inputs, edges)), self.second, edges)


def _convolve(inputs: Tensor, layer: nn.Linear, edges: Tensor) -> Tensor:
    """S X H, of each graph. X H comes first: it has fewer columns for the edges to carry."""
    graphs, nodes = inputs.shape[:2]
    firsts = torch.arange(graphs, device=edges.device) * nodes
    joined = (edges + firsts[:, None, None]).transpose(0, 1).flatten(1)
    mixed = layer(inputs).flatten(0, 1)
    return shift(mixed, *kipf(joined, graphs * nodes)).reshape(graphs, nodes, -1)
