"""What a stage will take, worked by hand from what it took."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from components.files import read_json, write_json
from flows.compose import compose
from flows.plan import plan, plan_text
from flows.predict import Figure, note, predict
from flows.store import Manifest, Store
from flows.units import spell_bytes, spell_seconds
from tests.flows.stores import store_with_digits
from tests.flows.test_stages import run_all

ROOT = Path(__file__).parents[2]
ROWS = {"train": 1258, "validation": 180, "test": 359}
SPEC = compose(ROOT)  # 40 epochs of 1,258 rows in batches of 64 on two workers


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    return store_with_digits(tmp_path / "store")


def figures(known: Store, stage: str, *told: Figure) -> None:
    """Remember figures, the last one as the newest."""
    for figure in told:
        known.note_figures(stage, "cnn/lenet5", asdict(figure))


def figure(seconds: float, scaling: float = 0.0, samples: int = 1, batch_size: int = 64, workers: int = 2, data: str = "digits", gpus: float = 0.0):
    return Figure(seconds, scaling, samples, data, ROWS, batch_size, workers, gpus)


def test_training_grows_with_its_samples_and_the_start_does_not(tmp_path):
    known = Store(tmp_path)
    figures(known, "train", figure(18.0, 8.0, 4 * 1258))  # four epochs in 8 s, after 10 s of starting
    found = predict("train", SPEC, known, ROWS)
    assert found.seconds == pytest.approx(10 + 80) and found.runs == 1 and found.gpu_hours == 0.0
    assert predict("train", compose(ROOT, ["trainer.duration=20st"]), known, ROWS).seconds == pytest.approx(10 + 2)  # 20 steps are an epoch
    assert predict("train", SPEC, known, None) == found  # before the data is there, its rows are the earlier runs'
    on_gpus = predict("train", compose(ROOT, ["cluster.gpus_per_worker=1"]), known, ROWS)
    assert on_gpus.gpu_hours == pytest.approx(90 / 3600 * 2)


def test_the_newest_five_that_are_most_alike_give_the_median(tmp_path):
    known = Store(tmp_path)
    told = [figure(seconds, seconds, 40 * 1258) for seconds in (900.0, 50.0, 60.0, 70.0, 80.0, 1000.0)]
    others = [figure(1.0, 1.0, 40 * 1258, batch_size=8), figure(2.0, 2.0, 40 * 1258, workers=1), figure(3.0, 3.0, 40 * 1258, data="mnist")]
    figures(known, "train", *told, *others)
    assert (predict("train", SPEC, known, ROWS).seconds, predict("train", SPEC, known, ROWS).runs) == (70.0, 5)
    assert predict("train", compose(ROOT, ["trainer.batch_size=8"]), known, ROWS).seconds == 1.0
    assert predict("train", compose(ROOT, ["cluster.workers=1", "trainer.batch_size=32"]), known, ROWS).seconds == 2.0  # the workers are the same
    assert predict("train", compose(ROOT, ["cluster.workers=3"]), known, ROWS).runs == 5  # all there are


def test_other_stages_and_what_never_ran(tmp_path):
    known = Store(tmp_path)
    figures(known, "report", figure(4.0), figure(6.0))
    figures(known, "evaluate", figure(10.0, 10.0, 539))
    assert predict("report", SPEC, known, ROWS).seconds == 5.0
    assert predict("evaluate", SPEC, known, ROWS).seconds == 10.0  # 180 + 359 samples
    assert predict("evaluate", compose(ROOT, ["evaluate.splits=[validation]"]), known, ROWS).seconds == pytest.approx(10 * 180 / 539, abs=1e-3)
    on_gpus = compose(ROOT, ["cluster.gpus_per_worker=1"])
    assert predict("report", on_gpus, known, ROWS).gpu_hours == 0.0 and predict("evaluate", on_gpus, known, ROWS).gpu_hours > 0
    for stage, spec in (("check", SPEC), ("report", compose(ROOT, ["data=mnist"])), ("report", compose(ROOT, ["experiment=cnn/resnet20"]))):
        assert predict(stage, spec, known, ROWS).seconds is None


def test_what_a_training_took_is_noted_and_the_file_does_not_grow(tmp_path):
    known = Store(tmp_path)
    write_json(tmp_path / "data" / "card.json", {"splits": {name: {"rows": rows} for name, rows in ROWS.items()}})
    data = Manifest("data", "k", {}, {}, tmp_path / "data", {}, 1.0, "")
    summary = {"steps": 25, "seconds": {"total": 5.0}, "refit": {"seconds": {"total": 2.0}}}
    for _ in range(40):
        note(known, SPEC, Manifest("train", "k", {}, {"summary": summary}, tmp_path, {}, 9.0, ""), data)
    noted = known.figures("train", "cnn/lenet5")
    assert len(noted) == 30
    assert noted[0] == asdict(figure(9.0, 7.0, 1258 + 5 * 64))  # an epoch is 20 steps
    note(known, SPEC, Manifest("train", "k", {}, {"summary": summary}, tmp_path, {}, 1.0, ""), data)
    assert known.figures("train", "cnn/lenet5")[0]["seconds"] == 7.0  # the attempt that ended it took 1 s, all of them 7
    assert set(read_json(known.root / "last" / "cnn" / "lenet5" / "seconds.json")) == {"train"}


def test_a_plan_tells_times_and_all_changes(store):
    found = plan([f"store={store.root}"])
    assert found["predicted"] == {"seconds": 0, "gpu_hours": 0, "unknown": ["check", "train", "evaluate", "report"]}
    assert found["stages"][0]["predicted"] is None and "unknown: never ran here on digits" in plan_text(found)
    figures(store, "train", figure(18.0, 8.0, 4 * 1258), figure(18.0, 8.0, 4 * 1258))
    figures(store, "check", figure(2.0))
    known = plan([f"store={store.root}", "cluster.gpus_per_worker=1"])
    assert known["stages"][2]["predicted"] == {"seconds": 90.0, "gpu_hours": pytest.approx(0.05), "runs": 2, "data": "digits"}
    assert known["predicted"] == {"seconds": 92.0, "gpu_hours": pytest.approx(0.05), "unknown": ["evaluate", "report"]}
    text = plan_text(known)
    assert "about 1 min 30 s, 0.05 GPU-hours, told from 2 runs" in text and "about 1 min 32 s" in text and "evaluate, report" in text


def test_a_plan_s_changes_are_all_there_and_those_of_later_stages_as_far_as_they_are_known(store, monkeypatch):
    run_all(Store(store.root / "other"), [])
    more = ["trainer.duration=1ep", "trainer.batch_size=2", "optimizer.lr=3", "optimizer.weight_decay=4", "seed=5", "evaluate.splits=[test]"]
    monkeypatch.setattr("flows.forecast.rows_of", lambda data: ROWS)  # these stages hold no card
    monkeypatch.setattr("flows.plan._card", lambda decisions: None)
    rows = {row["stage"]: row for row in plan([f"store={store.root / 'other'}", *more])["stages"]}
    keys = {stage: {change["key"] for change in row["changes"]} for stage, row in rows.items()}
    assert keys["train"] == {
        "config.trainer.duration", "config.trainer.batch_size", "config.optimizer.lr", "config.optimizer.weight_decay", "config.seed",
    }  # fmt: skip
    assert {"key": "config.seed", "before": 0, "now": 5} in rows["train"]["changes"] and rows["train"]["why"].endswith("and 2 more")
    assert keys["evaluate"] == {"config.evaluate.splits.0", "config.evaluate.splits.1", "config.seed"} and rows["evaluate"]["why"] == "after train"
    assert keys["data"] == keys["report"] == set()


def test_what_a_run_builds_on_is_part_of_the_plan(store):
    found = plan([f"store={store.root}", "upstream.teacher=['seed=1']"])
    assert [row["stage"] for row in found["upstream"]["teacher"]] == ["train"]  # its data and check are the run's own
    assert found["predicted"]["unknown"].count("train") == 2
    assert "upstream teacher" in plan_text(found)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.42, "0.4 s"), (42.0, "42 s"), (200.0, "3 min 20 s"), (7500.0, "2 h 5 min"), (273_600.0, "3 d 4 h"), (59.7, "1 min 0 s")],
)
def test_seconds_in_words(seconds, text):
    assert spell_seconds(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5 * 2**20 + 2**19, "5.5 MiB"), (3 * 2**40, "3.0 TiB")])
def test_bytes_in_words(count, text):
    assert spell_bytes(count) == text
