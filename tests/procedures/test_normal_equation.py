"""The normal equation on the house's table and against scikit-learn; what the task tells of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression as Reference

from components.data.prepare import prepare
from components.errors import UserError
from components.models.linear.regression import LinearRegression
from components.procedures.normal_equation import NormalEquation, solve
from components.training.evaluator import evaluate
from components.training.inputs import Inputs
from components.training.place import Place
from components.training.procedure import Work
from components.training.session import LocalSession
from components.training.system import build_system
from flows.compose import compose
from tests.systems.tiny import diabetes

ROOT = Path(__file__).parents[2]


def solved(directory: Path, *overrides: str):
    """The metrics of the experiment's normal equation on the training rows, the work and the data."""
    spec, session = compose(ROOT, ["experiment=linear/regression", "cluster=inline", *overrides]), LocalSession()
    (directory / "raw").mkdir()
    if spec.data.name == "diabetes":
        diabetes.write(directory / "raw")
    prepare(spec.data, directory / "raw", directory / "data")
    inputs = Inputs(directory / "data", "train", spec, session)
    model, task = build_system(spec, inputs.dataset.card, session)
    work = Work(spec, Place(session, directory / "data", directory), task, model, inputs)
    NormalEquation().fit(work)
    return evaluate(session, task, task.split(model), inputs, spec.evaluate), work


@pytest.mark.parametrize("overrides", [(), ("augment.always=[]", "task.standardized=false")], ids=["standardised", "raw"])
def test_the_house_of_the_notes(tmp_path, overrides):
    """Notes 003, section 16B. Float32 predictions move J by up to 2e-4."""
    found, _ = solved(tmp_path, *overrides)
    assert found["theta_0"] == pytest.approx(-42.7833, abs=1e-4)
    assert found["theta_1"] == pytest.approx(0.2296196, abs=1e-7)
    assert found["cost"] == pytest.approx(448.2190, abs=3e-4)
    assert found["price_2000"] == pytest.approx(416.456, abs=5e-4)


def test_the_cost_at_zero_and_the_first_gradient(tmp_path):
    """Notes 003, section 16B: J(0, 0) = 49541.625; dJ/dtheta_0 = -mean(y)."""
    spec, session = compose(ROOT, ["experiment=linear/regression", "augment.always=[]", "task.standardized=false"]), LocalSession()
    prepare(spec.data, tmp_path, tmp_path / "data")
    inputs = Inputs(tmp_path / "data", "train", spec, session)
    model, task = build_system(spec, inputs.dataset.card, session)
    batch, _ = inputs.first(4)
    cost = task.losses(task.split(model), batch, None)["loss"] / task.counts(batch, None)["loss"]
    cost.backward()
    assert float(cost.detach()) == 49541.625
    assert float(model.linear.bias.grad) == -296.25


def test_diabetes_is_scikit_learns(tmp_path):
    found, work = solved(tmp_path, "data=diabetes")
    raw = work.training.dataset.fetch(np.arange(work.training.rows))
    reference = Reference().fit(raw["inputs"].double(), raw["targets"].double())
    np.testing.assert_allclose([found[f"theta_{i}"] for i in range(1, 11)], reference.coef_, rtol=1e-4)
    assert found["theta_0"] == pytest.approx(reference.intercept_, rel=1e-4)
    assert found["r2"] == pytest.approx(reference.score(raw["inputs"].double(), raw["targets"].double()), rel=1e-6)
    assert [row["name"] for row in found["theta"]][:3] == ["constant", "age", "sex"]
    batch, draws = work.training.first(20)
    assert work.task.gallery(work.task.split(work.model.eval()), batch, draws).keys() == {"fit_targets", "fit_predictions"}


def test_dependent_features_and_unlike_units_have_a_solution():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(50, 3, dtype=torch.float64, generator=generator)
    x = torch.cat([torch.ones(50, 1, dtype=torch.float64), x, x[:, :1] - 2 * x[:, 1:2], torch.zeros(50, 1, dtype=torch.float64)], dim=1)
    y = x @ torch.tensor([1.0, 2.0, -1.0, 0.5, 0.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(x @ solve(x.T @ x, x.T @ y), y)
    scale = torch.tensor([1.0, 1e9, 1e-9, 1.0], dtype=torch.float64)
    z = x[:, :4] * scale
    torch.testing.assert_close(solve(z.T @ z, z.T @ y) * scale, torch.tensor([1.0, 2.0, -1.0, 0.5], dtype=torch.float64))


def test_mistakes_are_told(tmp_path):
    with pytest.raises(UserError, match="number of its inputs"):
        LinearRegression()
    with pytest.raises(UserError, match="number of its inputs"):
        LinearRegression(input_shape=(1, 8, 8))
    assert LinearRegression(input_shape=(3,)).theta().shape == (4,)
    _, work = solved(tmp_path)
    with pytest.raises(UserError, match="linear models only"):
        NormalEquation().fit(Work(work.spec, work.place, work.task, torch.nn.Linear(1, 1), work.training))
    with pytest.raises(UserError, match=r"queries\.house\.price"):
        build_system(
            compose(ROOT, ["experiment=linear/regression", "task.queries.house.price_2000=[1, 2]"]), work.training.dataset.card, LocalSession()
        )
