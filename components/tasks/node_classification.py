"""Classification of the nodes of graphs: a sample is a graph, its split says which nodes count (transductive learning)."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from components.data.card import Card
from components.data.draws import Draws
from components.metrics.base import Metric
from components.metrics.nodes import NodeClassification as NodeMetric
from components.tasks.base import Batch, Networks, StepContext, Task


class NodeClassification(Task):
    """Batches hold `inputs (B, V, F)`, `edges (B, 2, E)`, `targets (B, V)` int64 and `judged (B, 1, V)`, 1 where a node counts; the model maps
    inputs and edges to logits `(B, V, K)`.

    Args:
        loss: module `(logits (N, K), targets (N,)) -> (N,)`.
        card: the data set's card; its `targets` column names the classes.
    """

    def __init__(self, loss: nn.Module, card: Card) -> None:
        self.loss = loss
        self.class_names = card.classes("targets")

    def counts(self, batch: Batch, context: StepContext) -> dict[str, Tensor | float]:
        """One term, `loss`, over the number of judged nodes."""
        return {"loss": batch["judged"].sum()}

    def losses(self, networks: Networks, batch: Batch, context: StepContext) -> dict[str, Tensor]:
        """Sum of the loss over the judged nodes."""
        return {"loss": self._node_losses(networks["model"](batch["inputs"], batch["edges"]), batch)[batch["judged"][:, 0].bool()].sum()}

    def predict(self, networks: Networks, batch: Batch) -> dict[str, Tensor]:
        """Return `logits (B, V, K)` float32, `node_losses (B, V)`, and `losses (B,)`, each graph's mean over its judged nodes."""
        logits = networks["model"](batch["inputs"], batch["edges"]).float()
        node_losses, judged = self._node_losses(logits, batch), batch["judged"][:, 0].bool()
        means = (node_losses * judged).sum(1) / judged.sum(1).clamp(min=1)
        return {"logits": logits, "node_losses": node_losses, "losses": means}

    def metrics(self) -> Metric:
        """Accuracy, per-class figures, confusion and calibration over the judged nodes."""
        return NodeMetric(self.class_names)

    @torch.no_grad()
    def gallery(self, networks: Networks, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """Return the first graph's hidden layer in the plane: `node_places (V, 2)`, their principal components, with `node_targets`,
        `node_predictions` and `node_judged (V,)`; nothing for a model without a method `embed(inputs, edges)`."""
        model = networks["model"]
        if not hasattr(model, "embed"):
            return {}
        one = {name: column[:1] for name, column in batch.items()}
        hidden = model.embed(one["inputs"], one["edges"])[0].float()  # type: ignore[operator]
        predictions = model(one["inputs"], one["edges"])[0].argmax(1)
        shown = {"node_targets": one["targets"][0], "node_predictions": predictions, "node_judged": one["judged"][0, 0]}
        return {"node_places": principal_plane(hidden), **shown}

    def samples(self, batch: Batch, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses `(B,)`, targets and predictions `(B, V)`."""
        predictions = outputs["logits"].argmax(2)
        return {"sample_id": batch["sample_id"], "losses": outputs["losses"], "targets": batch["targets"], "predictions": predictions}

    def _node_losses(self, logits: Tensor, batch: Batch) -> Tensor:
        """(B, V, K) -> (B, V)."""
        return cast(Tensor, self.loss(logits.flatten(0, 1), batch["targets"].flatten())).reshape(batch["targets"].shape)


def principal_plane(rows: Tensor) -> Tensor:
    """Return the first two principal components of rows, `(N, F) -> (N, 2)` float32, F >= 2; an axis points where its greatest weight is positive."""
    centred = (rows - rows.mean(0)).double()
    axes = torch.linalg.eigh(centred.T @ centred).eigenvectors.flip(1)[:, :2]
    greatest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
    places: Tensor = centred @ (axes * greatest.sign())
    return places.float()
