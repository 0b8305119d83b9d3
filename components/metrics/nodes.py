"""Classification of a graph's nodes, of which a split judges some. B graphs, V nodes, K classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from components.metrics.base import Metric, State
from components.metrics.classification import Classification

_PREFIX = "node."


class NodeClassification(Metric):
    """The scores of `components.metrics.classification` over judged nodes.

    Args:
        class_names: K names in label order.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self._nodes = Classification(len(class_names), class_names)
        self._graphs: list[Tensor] = [torch.empty(0, dtype=torch.int64)]

    def update(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> None:
        """Take one batch.

        Args:
            outputs: `logits (B, V, K)`, `node_losses (B, V)`.
            batch: `targets (B, V)`, `judged (B, 1, V)`, `sample_id (B,)` of the graphs.
        """
        graphs = batch["sample_id"]
        judged = batch["judged"][:, 0].bool()
        count = judged.shape[1]
        node_id = graphs[:, None] * count + torch.arange(count, device=graphs.device)
        flat = {"logits": outputs["logits"][judged], "losses": outputs["node_losses"][judged]}
        self._nodes.update(flat, {"targets": batch["targets"][judged], "sample_id": node_id[judged]})
        self._graphs.append(graphs.detach().cpu())

    def state(self) -> State:
        """Return the graphs that this rank saw, `sample_id`, and what `Classification` keeps of each node, under `node.`."""
        return {"sample_id": torch.cat(self._graphs), **{_PREFIX + name: value for name, value in self._nodes.state().items()}}

    def compute(self, states: Sequence[State]) -> dict[str, Any]:
        """Return the scores over all ranks' judged nodes; `samples` is their number."""
        return self._nodes.compute([{name.removeprefix(_PREFIX): v for name, v in state.items() if name.startswith(_PREFIX)} for state in states])
