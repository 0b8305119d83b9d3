"""The formulas of notes 002 (section 5.7.1) and 004 (Q-statistic) on numbers known from elsewhere."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from sklearn.metrics import brier_score_loss

from components.errors import UserError
from components.metrics.classification import Classification
from components.metrics.ensemble import Ensemble, by_members, correlation, ensemble_error, error_moments, q_statistic

N, E, K = 60, 4, 3


def agreement(both, neither, only_first, only_second):
    """Where two classifiers are right, with these counts."""
    first = [True] * both + [False] * neither + [True] * only_first + [False] * only_second
    second = [True] * both + [False] * neither + [False] * only_first + [True] * only_second
    return torch.tensor(first), torch.tensor(second)


def random_members(seed=0, classes=K):
    generator = torch.Generator().manual_seed(seed)
    probabilities = torch.randn(N, E, classes, generator=generator, dtype=torch.float64).softmax(dim=2)
    return probabilities, torch.randint(classes, (N,), generator=generator)


def outputs(probabilities, targets):
    mean = probabilities.mean(dim=1)
    return {"logits": mean.log(), "losses": -mean.gather(1, targets[:, None]).squeeze(1).log(), "member_probabilities": probabilities}


def test_q_and_rho_are_the_catalogue_s():
    """004 T24: N11 = 40, the others 20: Q = 1/3, rho = 1/6."""
    pair = agreement(40, 20, 20, 20)
    assert q_statistic(*pair) == pytest.approx(1 / 3) and correlation(*pair) == pytest.approx(1 / 6)


@pytest.mark.parametrize(("counts", "value"), [((36, 4, 9, 16), 0.0), ((30, 10, 0, 0), 1.0), ((0, 0, 20, 20), -1.0), ((40, 0, 0, 0), 0.0)])
def test_q_and_rho_of_independent_equal_opposite_and_faultless_classifiers(counts, value):
    assert q_statistic(*agreement(*counts)) == value and correlation(*agreement(*counts)) == pytest.approx(value)


def test_rho_is_pearson_s_and_never_farther_from_zero_than_q():
    rng = np.random.default_rng(0)
    for _ in range(50):
        first, second = (torch.from_numpy(rng.random(40) < rng.uniform(0.2, 0.9)) for _ in range(2))
        rho = correlation(first, second)
        assert rho == pytest.approx(np.corrcoef(first.numpy(), second.numpy())[0, 1])
        assert abs(rho) <= abs(q_statistic(first, second)) + 1e-12


def test_correlated_errors_gain_nothing_and_uncorrelated_ones_a_kth():
    """002 T21."""
    assert ensemble_error(0.4, 0.4, 7) == pytest.approx(0.4)
    assert ensemble_error(0.4, 0.0, 8) == pytest.approx(0.05)


def test_the_averaged_error_of_every_size_is_the_formula_s():
    probabilities, targets = random_members()
    v, c = error_moments(probabilities, targets)
    for row in by_members(probabilities, targets):
        assert row["squared_error"] == pytest.approx(ensemble_error(v, c, row["members"]), rel=1e-12)


def test_figures_by_members_are_means_over_all_subsets():
    probabilities, targets = random_members(seed=1, classes=2)
    for row in by_members(probabilities, targets):
        averages = [probabilities[:, list(chosen)].mean(dim=1) for chosen in combinations(range(E), row["members"])]
        # scikit-learn's score of two classes counts one of them, ours both
        assert row["squared_error"] == pytest.approx(2 * np.mean([brier_score_loss(targets.numpy(), a[:, 1].numpy()) for a in averages]))
        assert row["accuracy"] == pytest.approx(np.mean([(a.argmax(dim=1) == targets).double().mean() for a in averages]))


def test_ranks_together_are_one_and_a_rank_may_have_seen_nothing():
    probabilities, targets = random_members()
    found = []
    for parts in ([torch.arange(N)], [torch.arange(7, N), torch.arange(7), torch.arange(0)]):
        states = []
        for rows in parts:
            metric = Ensemble(Classification(K))
            if len(rows):
                batch = {"targets": targets[rows], "sample_id": rows}
                metric.update(outputs(probabilities[rows], targets[rows]), batch)
            states.append(metric.state())
        found.append(Ensemble(Classification(K)).compute(states))
    assert found[0] == found[1]
    whole = found[0]
    last = whole["by_members"][-1]
    assert whole["accuracy"] == last["accuracy"] and whole["brier_score"] == pytest.approx(last["squared_error"])
    assert whole["gain"] == whole["accuracy"] - np.mean([member["accuracy"] for member in whole["members"]])
    assert [row[i] for i, row in enumerate(whole["q_statistic"])] == [1.0] * E


def test_too_many_members_are_refused():
    probabilities, targets = torch.full((2, 11, 3), 1 / 3), torch.zeros(2, dtype=torch.int64)
    with pytest.raises(UserError, match="so many"):
        Ensemble(Classification(3)).update(outputs(probabilities, targets), {"targets": targets, "sample_id": torch.arange(2)})
