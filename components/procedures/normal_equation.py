"""Least squares in one step: `(X^T X) theta = X^T y` (notes 003 C3, eq. 2.7; notes 002 M3). m rows, D features; X has a first column of ones."""

from __future__ import annotations

import torch
from torch import Tensor

from components.errors import UserError
from components.models.linear.regression import LinearRegression
from components.training.procedure import Procedure, Work
from components.training.session import sum_over_ranks, take_from_rank_0


class NormalEquation(Procedure):
    """Solves for a linear model's theta. Each rank reads a part of the rows once; `X^T X`, `X^T y` and `y^T y` are summed over the ranks.

    Memory is that of a batch and of a `(D + 1, D + 1)` matrix. The sums are float64, and the order of their terms depends on the number of
    workers, so theta is the same on each number of them to rounding, not to the bit.
    """

    def fit(self, work: Work) -> None:
        """Fill the model with the theta of least squares.

        Raises:
            UserError: the model is no LinearRegression.
        """
        model = work.model
        if not isinstance(model, LinearRegression):
            raise UserError("the normal equation solves linear models only", received=type(model).__name__, expected="LinearRegression")
        sums = sum_over_ranks(work.place.session, self._sums(work))
        theta = solve(sums[:-1, :-1], sums[:-1, -1])
        model.set_theta(theta)
        take_from_rank_0(work.place.session, model.parameters())
        work.log(loss=float(sums[-1, -1] - theta @ sums[:-1, -1]) / (2 * work.training.rows))

    @staticmethod
    def _sums(work: Work) -> Tensor:
        """This rank's `[X y]^T [X y]`, float64 `(D + 2, D + 2)`."""
        (features,) = work.training.dataset.card.columns["inputs"].shape
        sums = torch.zeros(features + 2, features + 2, dtype=torch.float64, device=work.place.session.device)
        for batch, counts in work.training.evaluation(work.spec.evaluate.batch_size):
            inputs, targets = batch["inputs"].double(), batch["targets"].double()
            table = torch.cat([torch.ones_like(targets)[:, None], inputs, targets[:, None]], dim=1)
            sums += float(counts) * (table.T @ table)
        return sums


def solve(gram: Tensor, moments: Tensor) -> Tensor:
    """Solve `gram theta = moments`: `X^T X (P, P)`, `X^T y (P,)` -> `(P,)`; where features depend on each other, one of the many solutions.

    The columns are scaled to length one first, so that features of unlike units do not look dependent, and the pseudo-inverse (002 L249)
    takes the place of the inverse that notes 003 eq. 2.7 would divide by zero for.
    """
    lengths = gram.diagonal().sqrt()
    lengths = torch.where(lengths > 0, lengths, 1.0)
    scaled = gram / lengths / lengths[:, None]
    theta: Tensor = torch.linalg.pinv(scaled, hermitian=True) @ (moments / lengths) / lengths
    return theta
