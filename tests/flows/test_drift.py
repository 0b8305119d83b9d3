"""When drift asks for retraining: once for each data version, and not again before the pause is over."""

from __future__ import annotations

import time

import pytest

from components.errors import RunError
from components.files import read_json, write_json
from flows.drift.look import Look, ask, due, looks_text
from flows.store import Store

FOUND = {"drifted": True, "features": [{"name": "price", "measure": "ks", "value": 0.6, "threshold": 0.1, "drifted": True}]}


def drifted(newest, model="sales"):
    return Look(model, "drifted", False, "", reference="old", newest=newest, found=FOUND)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


@pytest.fixture
def sent():
    """The requests, each the models that it named."""
    return []


def asked(store, told, sent, pause_hours=0.0):
    """Look, and ask if it is due."""
    one = due(store, told, pause_hours)
    ask([one], lambda wanted: sent.append([w.model for w in wanted]))
    return one


def test_the_same_data_ask_once(store, sent):
    assert asked(store, drifted("one"), sent).retrain
    again = asked(store, drifted("one"), sent)
    assert not again.retrain and again.why == "these data have asked for retraining before"
    assert asked(store, drifted("two"), sent).retrain
    assert set(read_json(store.root / "drift" / "sales.json")["asked"]) == {"one", "two"} and sent == [["sales"], ["sales"]]


def test_between_two_requests_there_is_a_pause(store, sent):
    assert asked(store, drifted("one"), sent, pause_hours=12).retrain
    soon = asked(store, drifted("two"), sent, pause_hours=12)
    assert not soon.retrain and "there is a pause of 12 h" in soon.why and sent == [["sales"]]
    write_json(store.root / "drift" / "sales.json", {"asked": {"one": time.time() - 12.1 * 3600}})
    assert asked(store, drifted("two"), sent, pause_hours=12).retrain


def test_all_models_are_asked_for_at_once_and_the_pause_is_each_ones_own(store, sent):
    asked(store, drifted("one", "faces"), sent)
    looks = [due(store, drifted("two", model), 12.0) for model in ("sales", "faces", "digits")]
    ask([*looks, Look("poles", "failed", False, "no such data")], lambda wanted: sent.append([w.model for w in wanted]))
    assert sent == [["faces"], ["sales", "digits"]]


def test_what_could_not_be_sent_is_not_noted(store, sent):
    def refuse(wanted):
        raise RunError("no server")

    with pytest.raises(RunError, match="no server"):
        ask([due(store, drifted("one"), 12.0)], refuse)
    assert asked(store, drifted("one"), sent, pause_hours=12).retrain and sent == [["sales"]]


def test_what_people_are_told():
    text = looks_text([_told(drifted("one")), Look("faces", "steady", False, "nothing has drifted")])
    assert text.splitlines() == [
        "sales: drifted; RETRAIN: the data have drifted",
        "    price: ks 0.6, above 0.1",
        "faces: steady; no retraining: nothing has drifted",
    ]


def _told(look):
    return Look(look.model, look.status, True, "the data have drifted", look.reference, look.newest, look.found)
