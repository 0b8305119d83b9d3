"""Average precision and the area under the ROC curve: by hand, against scikit-learn, and their invariants."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from components.metrics.ranking import average_precision, roc_auc


def test_by_hand():
    """Ranked: + - + -: precision 1 at recall 1/2, 2/3 at recall 1; of four pairs three are in order."""
    scores, positives = torch.tensor([0.9, 0.8, 0.7, 0.1]), torch.tensor([True, False, True, False])
    assert average_precision(scores, positives) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert roc_auc(scores, positives) == 3 / 4


def test_equal_scores_are_one_threshold():
    scores, positives = torch.zeros(10), torch.arange(10) < 3
    assert average_precision(scores, positives) == pytest.approx(0.3) and roc_auc(scores, positives) == 0.5


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("ties", [False, True])
def test_as_scikit_learn(seed, ties):
    generator = torch.Generator().manual_seed(seed)
    positives = torch.rand(57, generator=generator) < 0.3
    scores = torch.randn(57, generator=generator, dtype=torch.float64) + positives
    scores = (scores * 2).round() / 2 if ties else scores
    assert average_precision(scores, positives) == pytest.approx(average_precision_score(positives, scores), abs=1e-12)
    assert roc_auc(scores, positives) == pytest.approx(roc_auc_score(positives, scores), abs=1e-12)


def test_a_rising_transformation_changes_nothing_and_a_reversal_turns_the_area_round():
    scores = torch.tensor([0.3, -1.0, 2.0, 0.5, 0.5, 0.1], dtype=torch.float64)
    positives = torch.tensor([True, False, True, False, True, False])
    assert average_precision(scores.exp(), positives) == average_precision(scores, positives)
    assert roc_auc(-scores, positives) == pytest.approx(1 - roc_auc(scores, positives))


def test_one_kind_alone():
    nobody = torch.zeros(3, dtype=torch.bool)
    assert average_precision(torch.rand(3), nobody) == 0.0 and average_precision(torch.rand(3), ~nobody) == 1.0
    assert roc_auc(torch.rand(3), nobody) is None and roc_auc(torch.rand(3), ~nobody) is None
