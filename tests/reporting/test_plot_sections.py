"""Sections that are drawn from the gallery: regression, densities, policies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from components.reporting.journal import Journal
from components.reporting.page import SECTIONS, page
from components.reporting.run import Run
from components.reporting.sections.density import density
from components.reporting.sections.policy import policy
from components.reporting.sections.regression import regression

X = np.linspace(0, 1, 21)
FIT = {"fit_targets": 2 * X, "fit_predictions": 2 * X + 0.1, "fit_inputs": X}
FAN = {
    "fan_x": X,
    "fan_levels": np.array([0.05, 0.25, 0.5, 0.75, 0.95]),
    "fan_quantiles": np.arange(5.0)[:, None] + X,
    "fan_locations": np.stack([X, X + 1]),
    "fan_weights": np.full((2, 21), 0.5),
    "fan_inputs": np.linspace(0, 1, 2000),
    "fan_targets": np.linspace(0, 1, 2000),
}
MAP = {
    "policy_values": np.array([[1.0, 2.0], [3.0, 1.0], [0.0, 0.0]]),
    "policy_optimal": np.array([[1.0, 2.0], [1.0, 3.0], [0.0, 0.0]]),
    "policy_position": np.array([[0, 0], [0, 1], [1, 0]]),
    "policy_panel": np.zeros(3, dtype=np.int64),
    "policy_cell": np.array([0, 0, 1]),
    "policy_judged": np.array([1, 1, 0]),
}


def run(gallery: dict[str, Any], **metrics: Any) -> Run:
    record = {"run_id": "r", "spec": {"data": {"prepare": {"actions": ["left", "right"]}}}}
    card = {"columns": {"panel": {"classes": ["lake"]}, "cell": {"classes": ["ice", "hole"]}}}
    return Run(record, card, {}, {}, {"test": metrics}, Journal((), (), (), 0), {}, gallery, None, ())


@pytest.mark.parametrize(("section", "gallery"), [(regression, FIT), (density, FAN), (policy, MAP)])
def test_a_section_shows_for_its_own_gallery_only_and_the_same_each_time(section, gallery):
    others = [{}, *(g for g in (FIT, FAN, MAP) if g is not gallery)]
    assert all(section(run(other)) is None for other in others)
    assert section in SECTIONS
    first = page(run(gallery))
    assert f'id="{section.__name__}"' in first and first == page(run(gallery))


def test_theta_is_a_table_in_raw_units():
    found = regression(run(FIT, theta=[{"name": "constant", "value": -42.78}, {"name": "size", "value": 0.23}]))
    assert found.context["tables"][0]["rows"] == [["theta_0", "constant", -42.78], ["theta_1", "size", 0.23]]
    assert "target - prediction from -0.1 to -0.1" in found.context["charts"][1]
    many = regression(run({name: FIT[name] for name in ("fit_targets", "fit_predictions")}))
    assert "prediction by target" in many.context["charts"][0] and many.context["tables"] == []


def test_the_fan_is_as_wide_as_its_quantiles_and_many_points_are_thinned():
    found = density(run(FAN, coverage_50=0.48, nll=1.0))
    (chart,) = found.context["charts"]
    assert "from 5% to 95% is 4 wide on average" in chart and chart.count("<use") < 700
    calibration, components = found.context["tables"]
    assert calibration["rows"] == [["coverage 50", 0.48]]
    assert components["columns"][1] == "x = 0.00" and components["rows"][1][5] == "0.50 at 2"


def test_a_wrong_action_is_marked_and_ends_are_named():
    found = policy(run(MAP, agreement=0.5))
    assert "the 1 of 2 states" in found.context["intro"]
    (chart,) = found.context["charts"]
    assert "row 1, column 1: \u2192 2.00; row 1, column 2: \u2190 3.00; row 2, column 1: hole" in chart
    assert found.context["tables"][0]["rows"] == [["agreement", 0.5]]
