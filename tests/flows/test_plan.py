"""`plan`: figures worked by hand, and nothing run."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from components.data.card import Card, Column, Split, write_card
from flows.compose import compose
from flows.plan import plan, plan_text
from flows.stages import STAGES, key_parts
from flows.store import Store
from tests.flows.stores import store_with_digits

ROOT = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    return store_with_digits(tmp_path / "store")


def planned(store: Store, *overrides: str):
    return plan([f"store={store.root}", *overrides])


def test_lenet5_on_digits(store):
    found = planned(store)
    assert found["parameters"] == 61_706
    assert found["training_rows"] == 1258
    assert found["steps"] == 40 * 20  # 1258 rows make 19 batches of 64 and one of 42
    assert found["batch"] == {"global": 64, "per_worker": 32, "workers": 2, "micro_batches": 1}
    assert [s["action"] for s in found["stages"]] == ["reuse", "run", "run", "run", "run"]
    assert [s["stage"] for s in found["stages"]] == list(STAGES)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_the_learning_rates_are_the_formula_s(store):
    curve = planned(store)["learning_rate"]
    assert [p["step"] for p in curve] == [0, 89, 178, 266, 355, 444, 533, 621, 710, 799]
    for point in curve:  # 5 % of 800 steps warm up; base rate 0.004
        step = point["step"]
        factor = (step + 1) / 40 if step < 40 else 0.5 * (1 + math.cos(math.pi * (step - 40) / 760))
        assert point["learning_rate"] == pytest.approx(0.004 * factor, rel=1e-12)


@pytest.mark.parametrize(
    ("overrides", "steps"),
    [
        (["trainer.duration=3ep"], 60),
        (["trainer.batch_size=1258"], 40),
        (["trainer.batch_size=1257"], 80),
        (["trainer.duration=7st"], 7),
        (["trainer.duration=7000st"], 7000),
        (["debug=fast"], 4),
        (["debug=overfit"], 200),
    ],
)
def test_steps_by_hand(store, overrides, steps):
    assert planned(store, *overrides)["steps"] == steps


def test_before_the_data_is_there_its_figures_are_unknown(store):
    found = planned(store, "data=mnist", "trainer.duration=100000st")
    assert (found["training_rows"], found["steps"], found["learning_rate"]) == (None, None, None)
    assert planned(store, "data=mnist", "debug=overfit")["steps"] == 200  # one batch an epoch, whatever the data
    assert "known once the data is prepared" in plan_text(found)


def test_an_optimizer_s_own_default_rate_is_used(store):
    found = planned(store, "~optimizer.lr", "schedule=constant", "trainer.duration=1st")
    assert found["learning_rate"] == [{"step": 0, "learning_rate": 0.001}]  # torch's AdamW


def test_it_runs_nothing(store):
    before = sorted(p.relative_to(store.root) for p in store.root.rglob("*"))
    text = plan_text(planned(store))
    assert sorted(p.relative_to(store.root) for p in store.root.rglob("*")) == before
    assert "61,706" in text and "trainer.duration = 40ep" in text


def test_a_model_that_waits_for_the_data_s_width_is_counted_once_it_is_there(store):
    """linear/regression on a table of one's own: `features` is what the file holds."""
    wide = ("experiment=linear/regression", "model.features=null", "task.features=null")
    assert planned(store, *wide)["parameters"] is None and "known once" in plan_text(planned(store, *wide))
    with store.run("data", key_parts("data", compose(ROOT, list(wide)), {}), on_wait=print) as partial:
        columns = {"inputs": Column("float32", (7,)), "targets": Column("float32")}
        write_card(partial.directory, Card("house", "Houses", "none", "none", {}, columns, {"train": Split(4, ())}, {}))
        partial.outputs = {"content_sha256": "c" * 64}
    assert planned(store, *wide)["parameters"] == 8
