"""What runs cost, worked by hand on small made stores; and a real run that is killed, runs out of its budget, and goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from components.errors import UserError
from components.files import read_json, write_json
from components.spec.parse import to_plain
from components.training import journal
from flows.attempts import ATTEMPTS, attempted, read_attempts
from flows.compose import compose
from flows.cost.cost import Cost, cost_of
from flows.cost.night import night, parse_since, remaining
from flows.cost.prices import Prices, read_prices
from flows.cost.scaling import scaling
from flows.cost.spent import Window
from flows.cost.text import cost_text, night_text, plain_night
from flows.runs import read_run
from flows.store import Store
from tests.flows.stores import add_run
from tests.flows.test_predict import figure, figures
from tests.processes import until

ROOT = Path(__file__).parents[2]
T = 1_763_766_000.0  # when the first attempt began
TRAIN, DATA = "a" * 16, "b" * 16
GPUS = ["cluster.workers=4", "cluster.gpus_per_worker=1"]
PRICES = Prices("EUR", {"*H100*": 3.6, "cpu": 0.036})  # 0.001 a second of a GPU, 0.00001 of a core


def lines(path: Path, *records: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r) + "\n" for r in records))


def begin(token: str, at: float, stage: str = "train", key: str = TRAIN, kind: str = "gpu", devices: float = 4.0) -> dict[str, Any]:
    return {"kind": "begin", "stage": stage, "key": key, "attempt": token, "at": T + at, "device_kind": kind, "devices": devices}


def end(token: str, seconds: float, status: str = "ran", stage: str = "train", key: str = TRAIN) -> dict[str, Any]:
    return {"kind": "end", "stage": stage, "key": key, "attempt": token, "status": status, "seconds": seconds}


def start(token: str, at: float, step: int = 0, seconds: float = 0.0) -> dict[str, Any]:
    told = {"total_steps": 40, "at": T + at, "attempt": token, "workers": 4, "device": "NVIDIA H100 80GB HBM3"}
    return {"kind": "event", "name": "start", "step": step, "epoch": 0, "seconds": seconds, **told}


def step(number: int, seconds: float) -> dict[str, Any]:
    return {"kind": "step", "step": number, "epoch": 0, "seconds": seconds, "samples_per_second": 100.0, "data_wait_share": 0.25}


def lost(step: int, seconds: float, steps: int, reached: float) -> dict[str, Any]:
    told = {"steps": steps, "lost_seconds": reached - seconds, "reached_seconds": reached}
    return {"kind": "event", "name": "lost", "step": step, "epoch": 0, "seconds": seconds, **told}


@pytest.fixture
def store(tmp_path):
    """A run on four GPUs whose first attempt was killed at step 25, its last checkpoint being that of step 20; the second came to the end."""
    made = Store(tmp_path / "store")
    directory = add_run(made, "one", {"data": DATA, "train": TRAIN}, spec=to_plain(compose(ROOT, GPUS)))
    lines(
        directory / ATTEMPTS,
        *(begin("x", 0, "data", DATA, "cpu", 1.0), end("x", 10.0, stage="data", key=DATA)),
        begin("x", 10),
        *(begin("y", 100), end("y", 30.0)),
    )
    folder = made.root / "stages" / "train" / TRAIN
    told = [start("x", 15), step(20, 20.0), lost(20, 20.0, 5, 25.0), start("y", 105, 20, 20.0), step(40, 40.0)]
    ranks = {"mean": 0.2, "least": 0.1, "greatest": 0.5, "slowest": 2}
    lines(folder / "metrics.jsonl", *told, {"kind": "epoch", "step": 40, "epoch": 1, "seconds": 40.0, "rank_step_seconds": ranks})
    parts = {"total": 40.0, "data_wait": 4.0, "forward_backward": 30.0, "validation": 4.0, "checkpoint": 2.0}
    write_json(folder / "summary.json", {"samples_per_second": 123.0, "seconds": parts})
    return made


def cost(store: Store, name: str = "cnn-lenet5-one", **options: Any) -> Cost:
    return cost_of(store, read_run(store, name), PRICES, **options)


def test_a_killed_attempt_counts_and_what_it_lost_is_waste(store):
    found = cost(store)
    data, train = found.stages
    assert (data.device_seconds, data.wasted_device_seconds) == (10.0, 0.0)
    # The first lived from 10 to 15 + 25 s: 30 s, of which 20 were kept; the second took 30. On four GPUs each.
    assert (train.attempts, train.seconds, train.device_seconds) == (2, 30.0 + 30.0, 240.0)
    assert train.wasted_device_seconds == 4 * (30.0 - 20.0) and train.lost_steps == 5 and found.untold == 0
    assert (found.device_seconds("gpu"), found.device_seconds("cpu")) == (240.0, 10.0)
    assert found.money.amount == pytest.approx(0.24 + 0.0001) and found.money.wasted == pytest.approx(0.04) and found.money.currency == "EUR"
    assert found.speed.samples_per_second == 123.0 and found.speed.data_wait_share == 0.1 and found.speed.checkpoint_share == 0.05
    text = cost_text(found)
    for told in (
        "240.0 GPU-seconds",
        "40.0 of them wasted (17%)",
        "5 steps",
        "rank 2: 500 ms",
        "10.0%",
        "NVIDIA H100",
        "never ran on one worker here",
    ):
        assert told in text, text


def test_a_night_counts_what_lies_in_it(store):
    whole = night(store, datetime.fromtimestamp(T - 1, UTC), PRICES)
    assert whole.device_seconds("gpu") == 240.0 and len(whole.rows) == 1 and whole.money.amount == pytest.approx(0.2401)
    half = night(store, datetime.fromtimestamp(T + 115, UTC), PRICES)  # half of the second attempt
    assert half.device_seconds("gpu") == pytest.approx(60.0) and half.device_seconds("cpu") == 0.0 and half.wasted_device_seconds("gpu") == 0.0
    assert plain_night(half)["gpu_seconds"] == pytest.approx(60.0) and "1 runs" in night_text(half)
    later = night(store, datetime.fromtimestamp(T + 1000, UTC), PRICES)
    assert later.rows == () and later.money.amount == 0.0 and "nothing ran" in night_text(later)
    assert remaining(store, datetime.fromtimestamp(T, UTC), 0.1) == pytest.approx(0.1 - 240 / 3600)
    assert remaining(store, datetime.fromtimestamp(T, UTC), 0.01) == 0.0
    assert cost(store, window=Window(T + 10, T + 25)).stages[1].device_seconds == pytest.approx(4 * 15.0)


@pytest.mark.parametrize(("checkpoint", "kept"), [(20, 20.0), (None, 0.0)])
def test_until_somebody_goes_on_with_it_a_killed_training_has_lost_what_no_checkpoint_holds(tmp_path, checkpoint, kept):
    store = Store(tmp_path)
    directory = add_run(store, "one", {"train": TRAIN}, status="running")
    lines(directory / ATTEMPTS, begin("x", 0))
    folder = tmp_path / "stages" / "train" / f"{TRAIN}.partial"
    lines(folder / "metrics.jsonl", start("x", 5), step(20, 20.0), step(25, 25.0))
    if checkpoint is not None:
        (folder / "checkpoints" / f"step_{checkpoint:08d}").mkdir(parents=True)
    (train,) = cost(store).stages
    assert (train.seconds, train.wasted_device_seconds) == (30.0, 4 * (30.0 - kept))
    assert cost(store).speed.samples_per_second == 100.0 and cost(store).speed.data_wait_share == 0.25  # as far as it came


def test_failures_what_died_without_a_word_and_runs_of_before(tmp_path):
    store = Store(tmp_path)
    directory = add_run(store, "one", {"evaluate": DATA})
    told = {"stage": "evaluate", "key": DATA}
    lines(
        directory / ATTEMPTS,
        begin("x", 0, **told),
        end("x", 7.0, "failed", **told),
        begin("y", 9, **told),
        begin("z", 20, **told),
        end("z", 5.0, **told),
    )
    found = cost(store)
    (evaluate,) = found.stages
    assert (evaluate.seconds, evaluate.wasted_device_seconds, evaluate.untold) == (12.0, 28.0, 1)
    assert "1 attempt that died without a word" in cost_text(found)
    assert found.money.amount is None and "which GPU it was is not known" in found.money.why
    add_run(store, "two", {"train": TRAIN}, spec=to_plain(compose(ROOT, GPUS)))  # whose store tells of the last attempt alone
    assert [(s.stage, s.device_seconds) for s in cost(store, "cnn-lenet5-two").stages] == [("train", 8.0)]


def test_cores_and_gpus_of_one_stage_are_counted_apart(store):
    """Interrupted on 8 cores, gone on on 1 GPU, and judged on cores again."""
    directory = add_run(store, "mixed", {"train": TRAIN})
    both = (begin("x", 10, kind="cpu", devices=8.0), end("x", 30.0, "interrupted"), begin("y", 100, devices=1.0), end("y", 30.0))
    lines(directory / ATTEMPTS, *both)
    found = cost(store, "cnn-lenet5-mixed")
    assert [(s.stage, s.kind, s.attempts, s.device_seconds) for s in found.stages] == [("train", "cpu", 1, 240.0), ("train", "gpu", 1, 30.0)]
    assert found.device_seconds("gpu") == 30.0 and found.wasted_device_seconds("cpu") == 8 * (30.0 - 20.0)
    assert found.money.amount == pytest.approx(240 * 0.00001 + 30 * 0.001)


def test_a_search_that_went_on_on_other_devices(tmp_path):
    store, key = Store(tmp_path), "c" * 16
    parent = add_run(store, "search", {"tune": key})
    first = begin("x", 0, "tune", key, kind="cpu", devices=4.0)
    lines(parent / ATTEMPTS, first, begin("y", 50, "tune", key, devices=1.0), end("y", 60.0, stage="tune", key=key))
    events = [
        {"kind": kind, "trial": trial, "at": T + at}
        for kind, trial, at in (("begin", "t1", 1), ("end", "t1", 11), ("begin", "t2", 60), ("end", "t2", 66))
    ]
    lines(tmp_path / "stages" / "tune" / key / "search.jsonl", *({"values": {}, **e} for e in events))
    assert [(s.kind, s.attempts, s.device_seconds) for s in cost(store, parent.name).stages] == [("cpu", 1, 40.0), ("gpu", 1, 6.0)]


def test_trials_count_once_and_stopping_early_is_no_waste(tmp_path):
    store, key = Store(tmp_path), "c" * 16
    parent = add_run(store, "search", {"tune": key})
    lines(parent / ATTEMPTS, begin("x", 0, "tune", key, devices=2.0), end("x", 60.0, stage="tune", key=key))
    events = [
        {"kind": "begin", "trial": "t1", "at": T + 1},
        {"kind": "result", "trial": "t1", "at": T + 11, "step": 10, "percent": 100.0, "value": 0.9},
        {"kind": "end", "trial": "t1", "at": T + 11},
        {"kind": "begin", "trial": "t2", "at": T + 1},
        {"kind": "result", "trial": "t2", "at": T + 5, "step": 4, "percent": 40.0, "value": 0.1},
        {"kind": "end", "trial": "t2", "at": T + 5},
        {"kind": "begin", "trial": "t3", "at": T + 20},
        {"kind": "error", "trial": "t3", "at": T + 23, "reason": "it did not learn"},
    ]
    lines(tmp_path / "stages" / "tune" / key / "search.jsonl", *({"values": {"optimizer.lr": 0.1}, **e} for e in events))
    child = add_run(store, "trial", {"train": TRAIN}, part_of=parent.name)
    lines(child / ATTEMPTS, begin("z", 1, devices=2.0), end("z", 10.0))
    (row,) = night(store, datetime.fromtimestamp(T, UTC)).rows
    assert [(t.name, t.status, t.device_seconds, t.wasted_device_seconds) for t in row.trials] == [
        ("t1", "finished", 20.0, 0.0),
        ("t2", "stopped", 8.0, 0.0),
        ("t3", "failed", 6.0, 6.0),
    ]
    assert (row.device_seconds("gpu"), row.wasted_device_seconds("gpu"), row.stopped_device_seconds) == (34.0, 6.0, 8.0)
    assert night(store, datetime.fromtimestamp(T + 10, UTC)).device_seconds("gpu") == 2 * (1 + 3)


def test_scaling_is_told_from_earlier_runs(tmp_path):
    known = Store(tmp_path)
    figures(known, "train", figure(20.0, 10.0, 1000, workers=1), figure(9.0, 4.0, 1000, workers=4), figure(1.0, 1.0, 99_000, workers=1, batch_size=8))
    four = scaling(compose(ROOT, ["cluster.workers=4"]), known)
    assert four.efficiency == pytest.approx((1000 / 4) / (4 * 1000 / 10)) and "250 samples/s on 4 workers, 100 on one" in four.why
    assert scaling(compose(ROOT, ["cluster=inline"]), known).efficiency is None
    for overrides, why in ((["cluster.workers=3"], "3 workers"), (["cluster.workers=4", "cluster.gpus_per_worker=1"], "one worker")):
        found = scaling(compose(ROOT, overrides), known)
        assert found.efficiency is None and found.why == f"unknown: never ran on {why} here"


def test_prices(tmp_path):
    table = read_prices(ROOT)
    assert table is not None and table.is_example and table.of("NVIDIA H100 80GB HBM3") == table.per_hour["*H100*"] and table.of("TPU") is None
    assert read_prices(tmp_path) is None
    (tmp_path / "conf").mkdir()
    for text in ("currency: EUR", "currency: EUR\nper_hour: {cpu: cheap}", "currency: EUR\nper_hour: {cpu: -1}", "[]"):
        (tmp_path / "conf" / "prices.yaml").write_text(text)
        with pytest.raises(UserError, match="price table"):
            read_prices(tmp_path)


@pytest.mark.parametrize(("word", "seconds"), [("90m", 5400.0), ("24h", 86400.0), ("0.5d", 43200.0)])
def test_lengths_of_time(word, seconds):
    assert parse_since(word) == seconds


@pytest.mark.parametrize("word", ["", "h", "24", "0h", "-1h", "nanh", "yesterday"])
def test_what_is_no_length_of_time(word):
    with pytest.raises(UserError, match="no length of time"):
        parse_since(word)


def test_attempts_are_written_down_however_they_end(tmp_path):
    spec = compose(ROOT, GPUS)
    for stage, error in (("data", None), ("train", KeyboardInterrupt), ("train", ValueError), ("train", None)):
        try:
            with attempted(tmp_path, stage, "k", "token", spec):
                if error is not None:
                    raise error
        except BaseException as raised:
            assert type(raised) is error
    told = [(a.stage, a.kind, a.devices, a.status) for a in read_attempts(tmp_path)]
    assert told == [("data", "cpu", 1.0, "ran"), *(("train", "gpu", 4.0, status) for status in ("interrupted", "failed", "ran"))]
    assert all(a.seconds is not None and a.token == "token" for a in read_attempts(tmp_path))


def test_the_night_needs_no_torch():
    code = "import sys, flows.cost.night, flows.cost.text; assert not {'torch', 'ray', 'prefect', 'numpy', 'hydra'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_run_that_is_killed_and_runs_out_of_its_budget_goes_on_and_counts_it_all(make_workspace):
    workspace = make_workspace()
    options = ("cluster=inline", "tracking=disabled", "trainer.duration=15ep", "trainer.checkpoint_every=12st", "trainer.log_every_steps=1")
    process = workspace.start("run", *options)
    wanted = until(lambda: [p for p in workspace.root.glob("store/stages/train/*.partial/metrics.jsonl") if reached(p) >= 31], 250, 0.02)
    assert wanted, process.communicate()[0]
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    (path,) = wanted
    saved = max(int(p.name.removeprefix("step_")) for p in (path.parent / "checkpoints").glob("step_*"))
    made_again = reached(path) - saved
    spent = workspace.result("cost")
    train = next(s for s in spent["stages"] if s["stage"] == "train")
    assert train["attempts"] == 1 and train["wasted_device_seconds"] > 0.0 and spent["gpu_seconds"] == 0.0

    hours = (spent["cpu_seconds"] + 0.5) / 3600
    left = workspace.run("run", *options, f"budget.cpu_hours={hours}")
    assert left.returncode == 1 and "the budget is spent" in left.stderr and "of 300 steps are made, and saved" in left.stderr, left.stderr
    assert reached(path) < 300
    refused = workspace.run("run", *options, f"budget.cpu_hours={hours}")
    assert refused.returncode == 2 and "the training does not fit into its budget" in refused.stderr and "raise budget.cpu_hours" in refused.stderr

    done = workspace.result("run", *options, "budget.cpu_hours=10")
    records = journal.read(Path(done["stages"]["train"]["directory"]) / "metrics.jsonl")
    assert [r["step"] for r in records if r["kind"] == "step"] == list(range(1, 301))
    assert sum(r["steps"] for r in records if r.get("name") == "lost") == made_again
    found = workspace.result("cost", "--since", "24h")
    (row,) = found["runs"]
    train = next(s for s in row["stages"] if s["stage"] == "train")
    assert (train["attempts"], train["lost_steps"]) == (4, made_again)
    total = read_json(Path(done["stages"]["train"]["directory"]) / "summary.json")["seconds"]["total"]
    again = sum(r["lost_seconds"] for r in records if r.get("name") == "lost")
    assert train["device_seconds"] >= total + again and again <= train["wasted_device_seconds"] < train["device_seconds"] - 0.5 * total
    assert found["cpu_seconds"] == pytest.approx(sum(s["device_seconds"] for s in row["stages"]))

    expected = workspace.run("run", *options, "seed=1", "budget.cpu_hours=0.00001")
    assert expected.returncode == 2 and "CPU-hours are spent, and the training will take about" in expected.stderr, expected.stderr


def reached(path: Path) -> int:
    return max((r["step"] for r in journal.read(path)), default=0)
