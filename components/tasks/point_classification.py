"""Classification of point clouds, judged whole, thinned and turned."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from components.data.card import Card
from components.data.points import in_unit_sphere, turned_about_z
from components.errors import UserError
from components.losses.matrices import orthogonality
from components.metrics.base import Metric
from components.metrics.slices import SlicedClassification
from components.tasks.base import Batch, Networks, StepContext
from components.tasks.classification import Classification


class PointClassification(Classification):
    """Batches hold `inputs (B, N, 3)` and `targets (B,)`; the model maps points to a `PointNetOutput`.

    Evaluation asks for every cloud again with its first n points only (points are drawn independently, so these are a thinner cloud), and turned
    about z: that shows what a model knows of density and of rotation.

    Args:
        loss: module `(logits (B, K), targets (B,)) -> (B,)`.
        card: the data set's card; its `targets` column names the classes.
        transform_weight: of `|I - A A^T|^2`, the feature transform's second loss term (0.001 in the paper; it is on the W x W matrix alone). 0: no
            such term, as a vanilla model needs.
        points: numbers of points to evaluate with, beside all.
        degrees: angles to evaluate with, beside 0.
    """

    def __init__(
        self, loss: nn.Module, card: Card, transform_weight: float = 0.001, points: Sequence[int] = (), degrees: Sequence[float] = ()
    ) -> None:
        super().__init__(loss, card)
        available = card.columns["inputs"].shape[0]
        if any(not 1 <= count <= available for count in points):
            raise UserError("task.points asks for more points than a cloud has", received=list(points), expected=f"1 to {available}")
        self.transform_weight, self.points, self.degrees = transform_weight, tuple(points), tuple(degrees)

    def counts(self, batch: Batch, context: StepContext) -> dict[str, Tensor | float]:
        """`loss` and, where it is weighted, `transform`, both over the number of clouds."""
        names = ["loss", "transform"] if self.transform_weight else ["loss"]
        return dict.fromkeys(names, float(len(batch["targets"])))

    def losses(self, networks: Networks, batch: Batch, context: StepContext) -> dict[str, Tensor]:
        """Sums over the batch, the second one weighted.

        Raises:
            UserError: a weight for a transform that the model does not have.
        """
        output = networks["model"](batch["inputs"])
        terms = {"loss": self.loss(output.logits, batch["targets"]).sum()}
        if self.transform_weight:
            if output.transform is None:
                raise UserError(
                    "a vanilla PointNet has no feature transform", received=f"task.transform_weight={self.transform_weight}", expected="0"
                )
            terms["transform"] = self.transform_weight * orthogonality(output.transform).sum()
        return terms

    def predict(self, networks: Networks, batch: Batch) -> dict[str, Tensor]:
        """Return `logits (B, K)` float32, `losses (B,)`, `critical (B, N)` bool (the points that the maximum was taken from), and of each slice
        `slice.<name> (B,)`, the class that was predicted."""
        model, clouds = networks["model"], batch["inputs"]
        output = model(clouds)
        logits = output.logits.float()
        outputs = {"logits": logits, "losses": self.loss(logits, batch["targets"]), "critical": critical(output.owners, clouds.shape[1])}
        # Thinning moves the centre; turning about z moves nothing.
        slices = {f"points/{count}": in_unit_sphere(clouds[:, :count]) for count in self.points}
        slices |= {f"degrees/{angle:g}": turned_about_z(clouds, angle) for angle in self.degrees}
        return outputs | {f"slice.{name}": model(changed).logits.argmax(1) for name, changed in slices.items()}

    def metrics(self) -> Metric:
        """Those of every classification, and the accuracy of each slice."""
        return SlicedClassification(self.class_names, [f"points/{n}" for n in self.points] + [f"degrees/{a:g}" for a in self.degrees])

    def samples(self, batch: Batch, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """As of every classification, and `critical (B, N)`."""
        return {**super().samples(batch, outputs), "critical": outputs["critical"]}


def critical(owners: Tensor, points: int) -> Tensor:
    """Return which points own a global feature, `(B, F)` int64 with -1 for none `-> (B, N)` bool (Qi et al. 2017, theorem 2: the rest may go)."""
    marks = torch.zeros(owners.shape[0], points + 1, dtype=torch.bool, device=owners.device)
    marks.scatter_(1, owners + 1, True)
    return marks[:, 1:]
