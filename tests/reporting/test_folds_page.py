"""The page of folds: figures by hand, one chart, and no text of others as HTML."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from components.reporting.folds import render_folds
from components.reporting.sections.folds import folds
from flows.repeat import spread


def found(values: list[float]) -> dict[str, Any]:
    metrics = [{"validation": {"loss": 0.5}, "test": {"accuracy": value, "per_sample": 2.0 * value}} for value in values]
    runs = [{"value": str(i), "run_id": f"graph-x-{i}", "metrics": measured} for i, measured in enumerate(metrics)]
    return {
        "experiment": "graph/x",
        "data": "MUTAG <i>",
        "overrides": ["experiment=graph/x", "tracking.api_key=12345"],
        "headline": "test/accuracy",
        "runs": runs,
        "spread": spread(metrics),
    }


def test_a_column_a_fold_beside_mean_and_deviation() -> None:
    section = folds(found([2.0, 4.0, 9.0]))  # deviation sqrt(((2 - 5)^2 + (4 - 5)^2 + (9 - 5)^2) / 2) = sqrt(13)
    validation, test, runs = section.context["tables"]
    assert test["columns"] == ["test", "mean", "deviation", "fold 0", "fold 1", "fold 2"]
    assert test["rows"] == [["accuracy", 5.0, 13**0.5, 2.0, 4.0, 9.0], ["per sample", 10.0, 2 * 13**0.5, 4.0, 8.0, 18.0]]
    assert validation["rows"] == [["loss", 0.5, 0.0, 0.5, 0.5, 0.5]]
    assert runs["rows"] == [["0", "graph-x-0"], ["1", "graph-x-1"], ["2", "graph-x-2"]]
    assert "test/accuracy 5 ± 3.606" in section.context["intro"]
    (chart,) = section.context["charts"]
    assert "quartiles 3.0000 and 6.5000" in chart and chart.count('id="chart-folds-') > 0  # of 2, 4, 9 by linear interpolation: 3 and 6.5


def test_the_page_is_the_same_each_time_and_hides_what_is_secret(tmp_path: Path) -> None:
    render_folds(found([0.8, 0.9]), tmp_path / "a.html")
    render_folds(found([0.8, 0.9]), tmp_path / "b.html")
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert text == (tmp_path / "b.html").read_text(encoding="utf-8")
    assert "graph/x, 2 folds" in text and "MUTAG &lt;i&gt;" in text and "12345" not in text
    assert re.search(r"<dt>test/accuracy, mean</dt><dd>0\.8500</dd>", text)
