"""The section of an ensemble: what it shows, and that other runs do not show it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from components.metrics.classification import Classification
from components.metrics.ensemble import Ensemble
from components.reporting.journal import Journal
from components.reporting.page import SECTIONS, page
from components.reporting.run import Run
from components.reporting.sections.ensemble import ensemble

N, E, K = 40, 3, 4


def make_run(metrics, samples=None, gallery=None):
    card = {"columns": {"targets": {"classes": ["a", "b", "c", "d"]}}}
    return Run({}, card, {}, {}, {"test": metrics}, Journal((), (), (), 0), samples or {}, gallery or {}, None, ())


@pytest.fixture(scope="module")
def metrics():
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.randn(N, E, K, generator=generator, dtype=torch.float64).softmax(dim=2)
    targets, mean = torch.randint(K, (N,), generator=generator), probabilities.mean(dim=1)
    metric = Ensemble(Classification(K))
    outputs = {"logits": mean.log(), "losses": mean[:, 0], "member_probabilities": probabilities}
    metric.update(outputs, {"targets": targets, "sample_id": torch.arange(N)})
    return metric.compute([metric.state()])


def test_every_member_and_every_number_of_members_has_a_row(metrics):
    found = ensemble(make_run(metrics))
    assert found is not None and found.template == "figures" and len(found.context["charts"]) == 2
    shown = {table["title"]: table["rows"] for table in found.context["tables"]}
    assert [row[1] for row in shown["Members"]] == [member["accuracy"] for member in metrics["members"]]
    assert shown["By number of members"][-1][1:] == [
        metrics["accuracy"],
        *[metrics["by_members"][-1][k] for k in ("squared_error", "predicted_squared_error")],
    ]
    (q,) = (rows for title, rows in shown.items() if title.startswith("Q-statistic"))
    assert q[0][2] == metrics["q_statistic"][0][1] and q[1][2] == ""


def test_bagging_and_disputed_samples_are_told(metrics):
    votes = np.array([[0, 0, 0], [1, 2, 2]])
    samples = {"sample_id": np.array([4, 9]), "targets": np.array([0, 1]), "predictions": votes[:, 2], "member_predictions": votes}
    found = ensemble(make_run(metrics, samples, {"missed_rows": np.array([0.36, 0.37, 0.38], dtype=np.float32)}))
    assert found is not None
    members, *_, disputed = found.context["tables"]
    assert members["columns"][-1] == "training rows never seen" and members["rows"][1][-1] == pytest.approx(0.37)
    assert disputed["rows"] == [["9", "b", "c", "b", "c", "c"]]


def test_the_page_draws_it_the_same_each_time_and_only_for_ensembles(metrics):
    run = make_run(metrics)
    first = page(run)
    assert first == page(run) and 'id="ensemble"' in first
    others = {name: value for name, value in metrics.items() if name != "by_members"}
    assert ensemble in SECTIONS and ensemble(make_run(others)) is None
