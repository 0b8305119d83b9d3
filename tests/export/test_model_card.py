"""What the card says follows from what was measured."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from components.data.card import Card, Column, Split
from components.export.model_card import Facts, limits, model_card
from components.spec.schema import Expectation
from flows.compose import compose
from tests.systems.small import ROOT

CLASSES = [
    {"class": "cat", "precision": 0.9, "recall": 0.95, "f1": 0.92, "support": 100},
    {"class": "dog", "precision": 0.9, "recall": 0.55, "f1": 0.7, "support": 90},
    {"class": "yak|gnu", "precision": 1.0, "recall": 0.9, "f1": 0.95, "support": 12},
]
METRICS: dict[str, Any] = {
    "validation": {"accuracy": 0.9},
    "test": {
        "accuracy": 0.81234,
        "expected_calibration_error": 0.034,
        "per_class": CLASSES,
        "calibration": [{"lower": 0.0, "count": 0, "accuracy": None}, {"lower": 0.5, "count": 7, "accuracy": 0.8}],
        "slices": {"degrees": [{"value": 30.0, "accuracy": 0.5}]},
        "confusion": [[1, 2], [3, 4]],
    },
}
CHECK = {"checks": [{"name": "duplicates (train)", "passed": False, "severity": "warning", "detail": "3 of 90 rows"}, {"name": "x", "passed": True}]}


@pytest.fixture
def facts() -> Facts:
    spec = replace(compose(ROOT, ["experiment=cnn/lenet5"]), expect=(Expectation("test/accuracy", 0.97), Expectation("test/loss", maximum=1.0)))
    card = Card("digits", "Digits", "CC BY 4.0", "https://example.org", {}, {"inputs": Column("uint8", (1, 8, 8))}, {"test": Split(202, ())}, {})
    program = {"file": "program.pt2", "reason": None, "batch": {"minimum": 1, "maximum": None}, "rows": 69, "equal": True, "difference": {}}
    described = {
        "parameters": 61706, "checkpoint_sha256": "0" * 64, "program": program, "torch": "2",
        "inputs": [{"name": "inputs", "dtype": "uint8", "shape": ["rows", 1, 8, 8]}], "outputs": [{"name": "logits"}],
    }  # fmt: skip
    return Facts(spec, card, described, METRICS, CHECK, {"run_id": "r1", "gate": {"verdict": "promoted"}}, "Classification: one label a sample.")


def test_weak_classes_missed_expectations_and_warnings_are_limits(facts):
    """The mean recall is 0.8: dog lies more than 0.1 below it. Nothing was measured of the second expectation."""
    found = limits(facts)
    assert found[0] == "Recall more than 0.1 below the mean of 0.800 on test: dog (0.550)."
    assert found[1] == "Fewer than 30 rows on test, so that their figures are coarse: yak|gnu (12)."
    assert found[2] == "Expected and not reached: test/accuracy at least 0.97."
    assert found[3] == "The data's check warned: duplicates (train): 3 of 90 rows."
    assert len(found) == 4
    nothing = replace(facts, metrics={"test": {"accuracy": 0.99}}, check={})
    assert limits(nothing) == ["None was found by what was measured. What was not measured is not known."]
    assert "It was not evaluated." in limits(replace(facts, metrics={}))


def test_the_card_holds_what_was_measured_and_from_where(facts):
    card = model_card(facts)
    assert "| metric | validation | test |" in card and "| accuracy | 0.9 | 0.8123 |" in card and "| expected_calibration_error |  | 0.034 |" in card
    assert "### Per class, on test" in card and "yak\\|gnu | 1 | 0.9 | 0.95 | 12" in card
    assert "### Slices degrees, on test" in card and "### Calibration, on test" in card and "| 0.5 | 7 | 0.8 |" in card and "| 0 | 0 |" not in card
    assert "Licence of the data: CC BY 4.0" in card and "https://example.org" in card and facts.card.content_sha256 in card
    assert "61,706 learned numbers" in card and "- Run id: r1" in card and "- Gate: verdict promoted" in card
    assert [line for line in card.splitlines() if line.startswith("## ")] == [
        "## Model details", "## Intended use", "## Data", "## Metrics", "## Limits", "## Training", "## How to load it",
    ]  # fmt: skip


def test_an_export_without_a_program_says_so(facts):
    described = {**facts.described, "program": {**facts.described["program"], "file": None, "reason": "because"}}
    card = model_card(replace(facts, described=described))
    assert "There is no program, the weights need this package: because" in card and "load_eager" in card and "torch.export" not in card
