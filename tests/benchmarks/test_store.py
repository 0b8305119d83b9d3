"""The store's benchmarks on the smallest sizes: they run, their stores are sound, and their figures are what the names say."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.project import Taken, timed
from benchmarks.store import commit, lookup, unchanged
from benchmarks.store.generate import fill, finished_run
from components.files import read_json
from flows.compose import compose
from flows.stages import decide
from flows.store import Store

ROOT = Path(__file__).parents[2]


def test_a_filled_store_is_as_if_its_runs_had_been_made(tmp_path):
    store, spec = Store(tmp_path / "store"), compose(ROOT, lookup.OVERRIDES)
    run = finished_run(ROOT, spec, store)
    fill(run, 4, ["cnn/lenet5", "graph/gcn_cora"])
    fill(run, 7, ["cnn/lenet5", "graph/gcn_cora"])
    runs = [read_json(path) for path in sorted((store.root / "runs").glob("*/run.json"))]
    assert len(runs) == 7 and len({r["run_id"] for r in runs}) == 7
    assert {r["experiment"] for r in runs} == {"cnn/lenet5", "graph/gcn_cora"}
    assert store.ledger.complaints() == []
    entries = list(store.ledger.entries())
    assert [e.kind for e in entries] == (["stage"] * 5 + ["run"]) * 7
    store.ledger.append("benchmark", {})
    assert store.ledger.complaints() == []
    other = next(r for r in runs if r["experiment"] == "graph/gcn_cora")
    folder = store.root / "stages" / "train" / other["stages"]["train"]["key"]
    assert sorted(p.name for p in folder.iterdir()) == ["0.txt", "1.txt", "2.txt", "ledger.json", "manifest.json"]
    assert all(d.manifest is not None for d in decide(spec, store))


def test_look_ups_of_every_size_are_measured():
    rows, _ = lookup.measure(sizes=(2, 3), repeats=1, commands=["modelyard run, unchanged"])
    assert [row["operation"] for row in rows[:2]] == ["Store.find, five stages", "Store.find, five absent ones"]
    assert rows[-1]["operation"] == "modelyard run, unchanged"
    assert all(row["2 runs"] > 0 and row["3 runs"] > 0 for row in rows)
    assert rows[-1]["last/first"] == rows[-1]["3 runs"] / rows[-1]["2 runs"]


def test_the_parts_of_a_commit_are_all_of_it():
    rows, notes = commit.measure(repeats=1, checkpoint_bytes=1 << 20)
    took = {row["part"]: row["median"] for row in rows}
    whole = took.pop("whole")
    assert list(took)[:3] == ["lease taken", "files hashed", "manifest written"] and min(took.values()) > 0
    assert sum(took.values()) == pytest.approx(whole)
    assert notes["checkpoint MiB"] == 1


def test_dvc_has_nothing_to_do_in_its_project(tmp_path):
    project = unchanged.dvc_project(tmp_path / "plain")
    assert (project / "report" / "2.txt").read_text() == "report" * 100
    taken = timed([*unchanged.DVC, "repro"], project)
    assert taken.output.count("didn't change, skipping") == 5 and "up to date" in taken.output
    assert taken.cpu_seconds > 0


def test_ratios_are_taken_within_a_turn():
    def turn(ours, five):
        return {unchanged.OURS: Taken(ours, ours / 2, ""), unchanged.FIVE: Taken(five, five / 4, "")}

    rows, _ = unchanged.table([turn(1.0, 2.0), turn(3.0, 2.0), turn(4.0, 4.0)])
    assert rows[0]["command"] == unchanged.OURS and rows[0]["wall s"] == 3.0
    assert (rows[0]["ratio to DVC"], rows[0]["least"], rows[0]["greatest"], rows[0]["CPU ratio"]) == (1.0, 0.5, 1.5, 2.0)


def test_a_command_that_fails_is_told(tmp_path):
    with pytest.raises(RuntimeError, match=r"ended with 3:\nno"):
        timed([sys.executable, "-c", "import sys; print('no'); sys.exit(3)"], tmp_path)
