"""How fast and how large: the order of the calls, the figures by hand, two real exports."""

from __future__ import annotations

import torch

from components.export.measure import _percentile, compare_exports, compare_latencies, latency_milliseconds
from tests.export.trained import train_and_export


def test_two_models_take_turns():
    called = []
    found = compare_latencies({"a": lambda batch: called.append("a"), "b": lambda batch: called.append("b")}, {"inputs": torch.zeros(1)}, repeats=7)
    assert called == ["a", "b"] * (len(called) // 2)  # after the warm-up too
    assert found["a"].keys() == {"median", "p95", "minimum", "calls"} and found["a"]["calls"] == found["b"]["calls"] == 7
    assert 0 < found["a"]["minimum"] <= found["a"]["median"] <= found["a"]["p95"]


def test_a_slow_model_ends_when_its_time_is_spent():
    weights = torch.randn(500, 500)
    found = latency_milliseconds(lambda batch: batch["inputs"] @ weights, {"inputs": torch.randn(500, 500)}, repeats=10**9, seconds=0.2)
    assert 3 <= found["calls"] < 10**6 and found["median"] > 0


def test_percentiles_by_hand():
    assert _percentile([3.0, 1.0, 2.0], 0.95) == 3.0
    assert _percentile(list(map(float, range(1, 21))), 0.95) == 19.0
    assert _percentile(list(map(float, range(1, 101))), 0.5) == 50.0


def test_two_exports_are_compared_on_the_same_rows(tmp_path):
    small, large = (train_and_export(name, tmp_path / name.replace("/", "-")) for name in ("linear/regression", "linear/regression_gd"))
    found = compare_exports({"champion": small.directory, "candidate": large.directory}, small.system.data, sizes=(1, 16), seconds=0.5)
    for name, exported in (("champion", small), ("candidate", large)):
        assert found[name]["parameters"] == exported.described["parameters"] == 2 and found[name]["runs"] == "program"
        assert found[name]["bytes"]["program.pt2"] == (exported.directory / "program.pt2").stat().st_size
        assert found[name]["latency_milliseconds"].keys() == {1, 16} and found[name]["latency_milliseconds"][16]["median"] > 0
