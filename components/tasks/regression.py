"""Regression: one number a sample. Dimensions: B batch, D features, Q queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from components.data.card import Card
from components.data.draws import Draws
from components.errors import UserError
from components.metrics.base import Metric
from components.metrics.regression import Regression as RegressionMetric
from components.models.linear.regression import LinearRegression
from components.tasks.base import Batch, Networks, StepContext, Task


class Regression(Task):
    """Batches hold `inputs (B, D)` and `targets (B,)`; the model maps inputs to predictions `(B,)`.

    A linear model's theta is told in the units of the raw inputs: with `z = (x - mean) / std` a coefficient is `w / std`, and the constant
    is `b - sum(w mean / std)`.

    Args:
        loss: module `(predictions (B,), targets (B,)) -> (B,)`.
        card: the data set's card.
        features: the D names of the inputs; None: x1 to xD.
        standardized: `augment.always` standardises the inputs with the card's statistics; it must say what the transforms do.
        queries: data set -> name -> D raw features: questions whose answers are told as metrics of that name.

    Raises:
        UserError: a query, or the list of names, has another length than a row of the data.
    """

    def __init__(
        self,
        loss: nn.Module,
        card: Card,
        features: list[str] | None = None,
        standardized: bool = False,
        queries: Mapping[str, Mapping[str, Sequence[float]]] | None = None,
    ) -> None:
        size = card.columns["inputs"].shape[0]
        self.loss, self.features = loss, features or [f"x{i + 1}" for i in range(size)]
        self.queries = dict((queries or {}).get(card.name) or {})
        for name, row in {"features": self.features, **{f"queries.{card.name}.{k}": v for k, v in self.queries.items()}}.items():
            if len(row) != size:
                raise UserError(f"task.{name} does not fit the data", received=row, expected=f"{size} of them")
        mean, std = [0.0] * size, [1.0] * size
        if standardized:
            statistics = card.statistics["inputs"]
            mean, std = list(statistics.mean), [s if s > 0 else 1.0 for s in statistics.std]
        self.mean, self.std = torch.tensor(mean, dtype=torch.float64), torch.tensor(std, dtype=torch.float64)

    def counts(self, batch: Batch, context: StepContext) -> dict[str, Tensor | float]:
        """One term, `loss`, over the number of samples."""
        return {"loss": float(len(batch["targets"]))}

    def losses(self, networks: Networks, batch: Batch, context: StepContext) -> dict[str, Tensor]:
        """Sum of the loss over the batch."""
        return {"loss": self.loss(networks["model"](batch["inputs"]), batch["targets"]).sum()}

    def predict(self, networks: Networks, batch: Batch) -> dict[str, Tensor]:
        """Return `predictions (B,)` float32 and `losses (B,)`; `theta (B, D + 1)` (D = -1 where the model has none) and `answers (B, Q)`.

        The last two are the model's, the same in every row: what a metric needs has to come with the rows.
        """
        model, rows = networks["model"], len(batch["targets"])
        predictions = model(batch["inputs"]).float()
        theta = self._raw_theta(model) if isinstance(model, LinearRegression) else torch.empty(0)
        return {
            "predictions": predictions,
            "losses": self.loss(predictions, batch["targets"]),
            "theta": theta.expand(rows, -1),
            "answers": self._answers(model, batch["inputs"]).expand(rows, -1),
        }

    def metrics(self) -> Metric:
        """J, squared and absolute errors, R2; theta and the answers."""
        return RegressionMetric(["constant", *self.features], list(self.queries))

    def samples(self, batch: Batch, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Targets, predictions and losses, `(B,)` each."""
        return {name: outputs.get(name, batch.get(name)) for name in ("sample_id", "targets", "predictions", "losses")}  # type: ignore[misc]

    def gallery(self, networks: Networks, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """What the report draws: `fit_targets (B,)`, `fit_predictions (B,)`; with one feature `fit_inputs (B,)` in raw units."""
        shown = {"fit_targets": batch["targets"], "fit_predictions": self.predict(networks, batch)["predictions"]}
        if batch["inputs"].shape[1] == 1:
            shown["fit_inputs"] = (batch["inputs"].cpu().double() * self.std + self.mean).squeeze(1)
        return shown

    def _raw_theta(self, model: LinearRegression) -> Tensor:
        """(D + 1,) float64."""
        theta = model.theta().cpu()
        slopes = theta[1:] / self.std
        return torch.cat([theta[:1] - (slopes * self.mean).sum(), slopes])

    def _answers(self, model: nn.Module, like: Tensor) -> Tensor:
        """(Q,) float32."""
        if not self.queries:
            return like.new_empty(0)
        rows = torch.tensor(list(self.queries.values()), dtype=torch.float64)
        found: Tensor = model(((rows - self.mean) / self.std).to(like))
        return found.float()
