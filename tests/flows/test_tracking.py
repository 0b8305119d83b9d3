"""One W&B run a training: what an attempt that was killed has left undone is done again, under the same id."""

from __future__ import annotations

import json
from pathlib import Path

from flows.adapters.wandb import is_unfinished
from flows.compose import compose
from flows.tracking import Tracking, tracking_id

ROOT = Path(__file__).parents[2]
METRICS = {"test": {"accuracy": 0.5}}


def pieces(directory: Path) -> list[str]:
    return [p.name.rpartition("-")[2] for p in directory.glob("wandb/offline-run-*")]


def test_tracking_that_was_cut_off_is_done_again_under_the_same_id_and_once(tmp_path):
    spec, journal = compose(ROOT, ["tracking=offline"]), tmp_path / "metrics.jsonl"
    first = Tracking(spec, tmp_path, None, lambda key: {"stage": key})
    assert not is_unfinished(tmp_path, tracking_id("key"))
    first.begin("key", journal)
    first.close()  # before there was anything to track
    assert is_unfinished(tmp_path, tracking_id("key")) and not is_unfinished(tmp_path, tracking_id("another"))
    journal.write_text("".join(json.dumps({"kind": "step", "step": n, "loss": 1 / n}) + "\n" for n in (1, 2, 3)))
    for _ in range(2):  # the second time there is nothing left to do
        again = Tracking(spec, tmp_path, None, lambda key: {"stage": key})
        again.finish("key", journal, METRICS)
        assert again.close() is None
        assert pieces(tmp_path) == [tracking_id("key")] and not is_unfinished(tmp_path, tracking_id("key"))


def test_a_training_that_ends_before_the_tracker_looks_is_tracked(tmp_path):
    tracking = Tracking(compose(ROOT, ["tracking=offline"]), tmp_path, None, lambda key: {"stage": key})
    (tmp_path / "key").mkdir()
    (tmp_path / "key" / "metrics.jsonl").write_text(json.dumps({"kind": "step", "step": 1, "loss": 1.0}) + "\n")
    tracking.begin("key", tmp_path / "key.partial" / "metrics.jsonl")  # committed meanwhile
    tracking.finish("key", tmp_path / "key" / "metrics.jsonl", METRICS)
    assert tracking.close() is None and pieces(tmp_path) == [tracking_id("key")]


def test_a_training_that_nobody_began_to_track_is_not_tracked_by_who_evaluates_it(tmp_path):
    tracking = Tracking(compose(ROOT, ["tracking=offline"]), tmp_path, None, lambda key: {"stage": key})
    tracking.finish("key", tmp_path / "metrics.jsonl", METRICS)
    assert tracking.close() is None and list(tmp_path.iterdir()) == []
