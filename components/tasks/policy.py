"""A policy on a world of finitely many states (notes 004 M46). Dimensions: B batch of states, A actions, K outcomes of an action at most."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.data.card import Card
from components.data.draws import Draws
from components.metrics.base import Metric
from components.metrics.policy import Policy as PolicyMetric
from components.tasks.base import Batch, Networks, StepContext, Task

_SHOWN = ("position", "panel", "cell", "judged")


class Policy(Task):
    """Batches are of components/data/sources/environment.py; the model maps states `(B, ...)` to Q `(B, ..., A)`. The policy is greedy.

    The loss is what is left of Bellman's equation, `Q(s, a) = E[r + gamma max_a' Q(s', a')]` (004 L718), with the right side held fixed
    (the semi-gradient). A procedure that walks does not use it.

    Args:
        loss: module `(Q (B, A), right side (B, A)) -> (B, A)`.
        card: the data set's card; its training rows are the states.
        discount: gamma.
        horizon: steps after which an episode is cut.
        episodes: how many the evaluation walks.
        walk_seed: of these walks.
    """

    def __init__(self, loss: nn.Module, card: Card, discount: float, horizon: int, episodes: int = 1000, walk_seed: int = 0) -> None:
        self.loss, self.discount, self.states = loss, discount, card.splits["train"].rows
        self.horizon, self.episodes, self.walk_seed = horizon, episodes, walk_seed

    def counts(self, batch: Batch, context: StepContext) -> dict[str, Tensor | float]:
        """One term, `loss`, over the number of states."""
        return {"loss": float(len(batch["inputs"]))}

    def losses(self, networks: Networks, batch: Batch, context: StepContext) -> dict[str, Tensor]:
        """Sum of the Bellman errors over states and actions."""
        wanted = self._right_side(networks["model"], batch)
        return {"loss": self.loss(networks["model"](batch["inputs"]), wanted).sum()}

    def predict(self, networks: Networks, batch: Batch) -> dict[str, Tensor]:
        """Return `values (B, A)`, the learned Q, `greedy (B,)` int64, and `losses (B,)`."""
        values = networks["model"](batch["inputs"]).float()
        losses = self.loss(values, self._right_side(networks["model"], batch)).sum(dim=1)
        return {"values": values, "greedy": values.argmax(dim=1), "losses": losses}

    def metrics(self) -> Metric:
        """Agreement with the optimal policy, error of the values, returns."""
        return PolicyMetric(self.states, self.horizon, self.episodes, self.walk_seed)

    def samples(self, batch: Batch, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Learned values `(B, A)`, greedy actions and losses `(B,)`."""
        return {"sample_id": batch["sample_id"], **outputs}

    def gallery(self, networks: Networks, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """What the maps are drawn from.

        `policy_values`, `policy_optimal` `(B, A)`; `policy_position (B, 2)`; `policy_panel`, `policy_cell`, `policy_judged` `(B,)`.
        """
        values = self.predict(networks, batch)["values"]
        return {"policy_values": values, "policy_optimal": batch["targets"], **{f"policy_{name}": batch[name] for name in _SHOWN}}

    @torch.no_grad()
    def _right_side(self, model: nn.Module, batch: Batch) -> Tensor:
        """(B, A) float32."""
        probability, following, reward, ended = batch["outcomes"].float().unbind(dim=2)
        ahead = model(following.long()).float().max(dim=2).values
        outcomes = probability * (reward + self.discount * (1.0 - ended) * ahead)
        wanted: Tensor = outcomes.reshape(len(outcomes), batch["targets"].shape[1], -1).sum(dim=2)
        return wanted
