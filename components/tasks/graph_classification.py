"""Classification of whole graphs of different sizes: one label a graph."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from components.data.draws import Draws
from components.tasks.base import Batch, Networks, StepContext
from components.tasks.classification import Classification
from components.tasks.node_classification import principal_plane

SHOWN_GRAPHS = 8


class GraphClassification(Classification):
    """Batches hold the ragged columns `nodes (V,)` and `edges (E, 2)` with their offsets, and `targets (B,)`; the model maps
    nodes, their offsets, edges and their offsets to logits `(B, K)`. Metrics and samples are those of every classification."""

    def losses(self, networks: Networks, batch: Batch, context: StepContext) -> dict[str, Tensor]:
        """Sum of the loss over the batch."""
        return {"loss": self.loss(networks["model"](*graphs(batch)), batch["targets"]).sum()}

    def predict(self, networks: Networks, batch: Batch) -> dict[str, Tensor]:
        """Return `logits (B, K)` float32 and `losses (B,)`."""
        logits = networks["model"](*graphs(batch)).float()
        return {"logits": logits, "losses": self.loss(logits, batch["targets"])}

    @torch.no_grad()
    def gallery(self, networks: Networks, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """Return the first graphs as they are, `graph_nodes`, `graph_edges` with offsets, and of the whole batch `graph_places (B, 2)`, the
        principal components of what the model read out of each, `graph_targets`, `graph_predictions (B,)`."""
        model = networks["model"]
        nodes, node_offsets, edges, edge_offsets = graphs(batch)
        count = min(SHOWN_GRAPHS, len(batch["targets"]))
        shown = {
            "graph_nodes": nodes[: node_offsets[count]],
            "graph_nodes_offsets": node_offsets[: count + 1],
            "graph_edges": edges[: edge_offsets[count]],
            "graph_edges_offsets": edge_offsets[: count + 1],
            "graph_targets": batch["targets"],
            "graph_predictions": cast(Tensor, model(*graphs(batch))).argmax(1),
        }
        if hasattr(model, "embed"):
            shown["graph_places"] = principal_plane(model.embed(*graphs(batch)).float())  # type: ignore[operator]
        return shown


def graphs(batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return nodes `(V,)`, their offsets `(B + 1,)`, edges `(E, 2)` and theirs."""
    return batch["nodes"], batch["nodes.offsets"], batch["edges"], batch["edges.offsets"]
