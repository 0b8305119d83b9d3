"""What the members of an ensemble gain by answering together, and how alike they err (notes 002 M70, T21; 004 M49, T24).

N samples, E members, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from components.errors import UserError
from components.metrics.base import Metric, State, gather_samples

MOST_MEMBERS = 10  # every subset is tried, 2^E of them


class Ensemble(Metric):
    """The figures of the answer given together, from another metric, and those of the members.

    Args:
        together: takes the ensemble's own `logits` and `losses`.
    """

    def __init__(self, together: Metric) -> None:
        self.together = together
        self._batches: list[State] = []

    def update(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> None:
        """Take one batch.

        Args:
            outputs: what `together` takes, and `member_probabilities (B, E, K)`.
            batch: `targets` int64 `(B,)`, `sample_id` int64 `(B,)`.

        Raises:
            UserError: more than ten members.
        """
        self.together.update(outputs, batch)
        probabilities = outputs["member_probabilities"].detach().cpu().double()
        if probabilities.shape[1] > MOST_MEMBERS:
            raise UserError("an ensemble of so many cannot be measured", received=probabilities.shape[1], expected=f"at most {MOST_MEMBERS} members")
        self._batches.append({"member_probabilities": probabilities})

    def state(self) -> State:
        """`together`'s samples, and `member_probabilities (n, E, K)` float64, in the same order."""
        own = [part["member_probabilities"] for part in self._batches]
        return {**self.together.state(), "member_probabilities": torch.cat(own) if own else torch.empty(0, 0, 0, dtype=torch.float64)}

    def compute(self, states: Sequence[State]) -> dict[str, Any]:
        """Return `together`'s figures, and of the members:

        Floats `member_accuracy` (mean over members), `gain` (accuracy less that), `error_variance` v, `error_covariance` c,
        `mean_q_statistic`, `mean_correlation` (over pairs);
        `members` [{accuracy, squared_error}];
        `by_members` [{members, accuracy, squared_error, predicted_squared_error}], means over all subsets of so many members;
        `q_statistic` and `correlation`, E rows of E floats.
        """
        together = self.together.compute([{name: value for name, value in state.items() if name != "member_probabilities"} for state in states])
        samples = _joined(states)
        targets, probabilities = samples["targets"], samples["member_probabilities"]
        right = probabilities.argmax(dim=2) == targets[:, None]
        variance, covariance = error_moments(probabilities, targets)
        members = right.shape[1]
        rows = by_members(probabilities, targets)
        for row in rows:
            row["predicted_squared_error"] = ensemble_error(variance, covariance, row["members"])
        q = [[q_statistic(right[:, i], right[:, j]) for j in range(members)] for i in range(members)]
        rho = [[correlation(right[:, i], right[:, j]) for j in range(members)] for i in range(members)]
        return {
            **together,
            "member_accuracy": rows[0]["accuracy"],
            "gain": rows[-1]["accuracy"] - rows[0]["accuracy"],
            "error_variance": variance,
            "error_covariance": covariance,
            "mean_q_statistic": _mean_of_pairs(q),
            "mean_correlation": _mean_of_pairs(rho),
            "members": [_subset(probabilities, targets, (i,)) for i in range(members)],
            "by_members": rows,
            "q_statistic": q,
            "correlation": rho,
        }


def _joined(states: Sequence[State]) -> State:
    """A rank that saw no batch knows neither E nor K."""
    seen = [state for state in states if len(state["sample_id"])]
    return gather_samples([{name: state[name] for name in ("sample_id", "targets", "member_probabilities")} for state in seen])


def by_members(probabilities: Tensor, targets: Tensor) -> list[dict[str, Any]]:
    """Average the probabilities of every subset of the members: `(N, E, K), (N,)` -> for each size, the means over the subsets of that size.

    Returns:
        [{members, accuracy, squared_error}], the latter the squared distance of the averaged probabilities from the one-hot target, 0 to 2.
    """
    members = range(probabilities.shape[1])
    rows = []
    for size in range(1, len(members) + 1):
        found = [_subset(probabilities, targets, chosen) for chosen in combinations(members, size)]
        means = {name: math.fsum(row[name] for row in found) / len(found) for name in found[0]}
        rows.append({"members": size, **means})
    return rows


def _subset(probabilities: Tensor, targets: Tensor, chosen: tuple[int, ...]) -> dict[str, float]:
    # one by one, in order: a reduction of torch's may add in another order with other sizes
    mean = sum((probabilities[:, i] for i in chosen[1:]), start=probabilities[:, chosen[0]]) / len(chosen)
    return {
        "accuracy": int((mean.argmax(dim=1) == targets).sum()) / len(targets),
        "squared_error": _mean((mean - _one_hot(targets, mean.shape[1])).square().sum(dim=1)),
    }


def error_moments(probabilities: Tensor, targets: Tensor) -> tuple[float, float]:
    """Return v and c of the members' errors `e_i = p_i - one_hot(target)`: v = mean of `|e_i|^2` over members and samples, c = mean of
    `e_i . e_j` over pairs i != j and samples. `(N, E, K), (N,)`, E at least 2.
    """
    count = probabilities.shape[1]
    errors = probabilities - _one_hot(targets, probabilities.shape[2])[:, None]
    squares = [_mean(errors[:, i].square().sum(dim=1)) for i in range(count)]
    products = [_mean((errors[:, i] * errors[:, j]).sum(dim=1)) for i, j in combinations(range(count), 2)]
    return math.fsum(squares) / len(squares), math.fsum(products) / len(products)


def ensemble_error(variance: float, covariance: float, members: int) -> float:
    """Return the expected squared error of an average: `v / E + (E - 1) c / E` (notes 002 section 5.7.1).

    c = v: no gain; c = 0: v / E. The notes derive it for errors of mean zero; it holds for any, with v and c the second moments.
    """
    return variance / members + (members - 1) * covariance / members


def q_statistic(first: Tensor, second: Tensor) -> float:
    """Return Yule's Q of two classifiers from where each is right, `(N,)` bool each (notes 004, "Q-statistic"; Kuncheva and Whitaker 2003).

    `(n11 n00 - n01 n10) / (n11 n00 + n01 n10)`: 0 for independent ones, 1 for equal ones; 0 where the denominator is 0.
    """
    both, neither, only_first, only_second = _agreement(first, second)
    return _ratio(both * neither - only_first * only_second, both * neither + only_first * only_second)


def correlation(first: Tensor, second: Tensor) -> float:
    """Return the correlation of where two classifiers are right, `(N,)` bool each; of Q's sign and never farther from 0; 0 where one never varies."""
    both, neither, only_first, only_second = _agreement(first, second)
    margins = (both + only_first) * (only_second + neither) * (both + only_second) * (only_first + neither)
    return _ratio(both * neither - only_first * only_second, math.sqrt(margins))


def _agreement(first: Tensor, second: Tensor) -> tuple[int, int, int, int]:
    return int((first & second).sum()), int((~first & ~second).sum()), int((first & ~second).sum()), int((~first & second).sum())


def _mean_of_pairs(matrix: Sequence[Sequence[float]]) -> float:
    pairs = [matrix[i][j] for i, j in combinations(range(len(matrix)), 2)]
    return math.fsum(pairs) / len(pairs)


def _one_hot(targets: Tensor, classes: int) -> Tensor:
    return torch.nn.functional.one_hot(targets, classes).double()


def _mean(values: Tensor) -> float:
    return math.fsum(values.tolist()) / len(values)  # correctly rounded, with any number of threads


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else 0.0
