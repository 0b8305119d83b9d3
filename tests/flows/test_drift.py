"""When drift asks for retraining: once for each data version, and not again before the pause is over."""

from __future__ import annotations

import time

import pytest

from components.files import read_json, write_json
from flows.drift.look import Look, ask_once, looks_text
from flows.store import Store

FOUND = {"drifted": True, "features": [{"name": "price", "measure": "ks", "value": 0.6, "threshold": 0.1, "drifted": True}]}


def drifted(newest):
    return Look("sales", "drifted", False, "", reference="old", newest=newest, found=FOUND)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def test_the_same_data_ask_once(store):
    assert ask_once(store, drifted("one"), pause_hours=0).retrain
    again = ask_once(store, drifted("one"), pause_hours=0)
    assert not again.retrain and again.why == "these data have asked for retraining before"
    assert ask_once(store, drifted("two"), pause_hours=0).retrain
    assert set(read_json(store.root / "drift" / "sales.json")["asked"]) == {"one", "two"}


def test_between_two_requests_there_is_a_pause(store):
    assert ask_once(store, drifted("one"), pause_hours=12).retrain
    soon = ask_once(store, drifted("two"), pause_hours=12)
    assert not soon.retrain and "there is a pause of 12 h" in soon.why
    write_json(store.root / "drift" / "sales.json", {"asked": {"one": time.time() - 12.1 * 3600}})
    assert ask_once(store, drifted("two"), pause_hours=12).retrain


def test_what_people_are_told():
    text = looks_text([_told(drifted("one")), Look("faces", "steady", False, "nothing has drifted")])
    assert text.splitlines() == [
        "sales: drifted; RETRAIN: the data have drifted",
        "    price: ks 0.6, above 0.1",
        "faces: steady; no retraining: nothing has drifted",
    ]


def _told(look):
    return Look(look.model, look.status, True, "the data have drifted", look.reference, look.newest, look.found)
