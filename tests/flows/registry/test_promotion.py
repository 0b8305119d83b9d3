"""Promotion and the way back: what is champion after each step, also where somebody is killed at one."""

from __future__ import annotations

import shutil

import pytest

from components.errors import RunError, UserError
from components.files import read_json, write_json
from flows.adapters.wandb_mirror import order_path, waiting
from flows.registry.decide import decide_candidate
from flows.registry.promotion import promote, register, rollback
from flows.registry.versions import Registry
from flows.runs import champions
from flows.store import Store
from tests.crash import crashes
from tests.flows.registry.made import VERDICT, export, make_candidate, make_champion


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    return Store(tmp_path)


def test_the_first_champion_and_its_successor(store):
    assert Registry(store).champion("digits") is None and Registry(store).models() == []
    make_champion(store, "one")
    make_champion(store, "two")
    champion = Registry(store).champion("digits")
    assert (champion.number, champion.run_id) == (2, "cnn-lenet5-two")
    assert (champion.directory / "export" / "model.safetensors").read_text() == "two".ljust(64, "0")
    assert read_json(store.root / "models" / "digits" / "champion.json")["version"] == 2
    assert dict(champions(store))["digits"]["run_id"] == "cnn-lenet5-two"  # what gc, trace and impact go by
    assert [(e.body["version"], e.body["before"]) for e in Registry(store).history("digits")] == [(1, None), (2, 1)]


def test_models_have_champions_of_their_own(store):
    make_champion(store, "one")
    make_champion(store, "other", model="faces")
    assert Registry(store).models() == ["digits", "faces"]
    assert [Registry(store).champion(m).run_id for m in ("digits", "faces")] == ["cnn-lenet5-one", "cnn-lenet5-other"]


def test_the_same_candidate_is_one_version(store):
    version = make_champion(store, "one")
    assert register(store, "digits", make_candidate(store, "one"), VERDICT, export) == version
    assert not promote(store, version, None, "again", VERDICT)  # it is champion already, whoever it was compared with
    assert len(Registry(store).history("digits")) == 1


def test_whoever_was_compared_with_another_champion_changes_nothing(store):
    first = make_champion(store, "one")
    late = register(store, "digits", make_candidate(store, "late"), VERDICT, export)
    make_champion(store, "two")
    with pytest.raises(RunError, match="version 3 became champion of digits while version 1 was compared with"):
        promote(store, late, first, "the gate was passed", VERDICT)
    assert Registry(store).champion("digits").number == 3


def test_the_way_back_and_what_is_not_wanted_any_more(store):
    make_champion(store, "one")
    make_champion(store, "two")
    assert rollback(store, "digits", None, "two sees ghosts").number == 1
    registry = Registry(store)
    assert registry.champion("digits").number == 1 and registry.rejected("digits") == {2}
    promote(store, registry.version("digits", 2), registry.champion("digits"), "the ghosts are real", VERDICT)
    assert registry.rejected("digits") == set()
    make_champion(store, "three")
    assert rollback(store, "digits", 1, "the first was best").number == 1


def test_the_way_back_never_leads_to_what_somebody_went_back_from(store):
    for name in ("one", "two", "three"):
        make_champion(store, name)
    assert [rollback(store, "digits", None, "not good").number for _ in range(2)] == [2, 1]
    assert Registry(store).rejected("digits") == {2, 3}
    with pytest.raises(UserError, match="had no champion before version 1 that nobody went back from"):
        rollback(store, "digits", None, "not good either")
    assert rollback(store, "digits", 3, "the least bad").number == 3


def test_the_way_back_leads_past_a_version_that_was_removed(store):
    for name in ("one", "two", "three"):
        make_champion(store, name)
    shutil.rmtree(Registry(store).version("digits", 2).directory)
    assert rollback(store, "digits", None, "not good").number == 1


def test_the_ledger_says_the_verdict_of_now(store):
    """A version that was let through once is made champion again although it is refused today."""
    make_champion(store, "one")
    make_champion(store, "two")
    first, second = (Registry(store).version("digits", n) for n in (1, 2))
    gain = {"gain": -0.1, "lower": -0.2, "upper": -0.05}
    promote(store, first, second, "a person wants it", {"passed": False, "gain": gain, "findings": []})
    entry = Registry(store).newest_alias("digits")
    assert first.record["gate"]["passed"] and (entry["passed"], entry["gain"], entry["back"]) == (False, gain, False)
    rollback(store, "digits", 2, "a person does not")
    entry = Registry(store).newest_alias("digits")
    assert (entry["passed"], entry["gain"], entry["back"]) == (None, None, True)


def test_w_and_b_is_told_of_every_champion_in_turn(store):
    """Also of one that somebody went back to, and of one whose order was lost with who was killed before he could write it."""
    make_champion(store, "one")
    make_champion(store, "two")
    candidate = make_candidate(store, "one")
    lines = []
    rollback(store, "digits", None, "two sees ghosts", lines.append)
    assert lines == ["tracking: W&B is offline: `modelyard sync` links digits version 1 in W&B's registry"]
    assert [path.name for path in waiting(store.root)] == ["digits-2.json", "digits-1.json"]  # the newest is the last to take the alias
    order = read_json(order_path(store.root, "digits", 1))
    assert order["files"] == ["models/digits/versions/0001/export/model.safetensors"] and order["aliases"] == ["champion"]
    assert order["entry"] == Registry(store).history("digits")[-1].number and order["run_id"] == "cnn-lenet5-one"

    order_path(store.root, "digits", 1).unlink()
    decision = decide_candidate(store, "digits", candidate, announce=lines.append)
    assert (decision.status, decision.reasons, decision.version.number) == ("unchanged", [], 1)
    assert read_json(order_path(store.root, "digits", 1))["entry"] == order["entry"] and len(lines) == 2
    write_json(order_path(store.root, "digits", 1), {**order, "done": "now"})
    decide_candidate(store, "digits", candidate, announce=lines.append)
    assert len(lines) == 2 and waiting(store.root)[0].name == "digits-2.json"  # what was told is not told again


def test_a_champion_that_was_replaced_is_not_judged_again(store):
    make_champion(store, "one")
    make_champion(store, "two")
    make_champion(store, "three")
    decision = decide_candidate(store, "digits", make_candidate(store, "one"))  # whose scores nobody could compare: there are none
    assert (decision.status, decision.version.number) == ("unchanged", 3)
    assert decision.reasons[0].startswith(
        "it is version 1, which was champion before version 2 took its place, and is left there; `modelyard promote"
    )


def test_a_candidate_whose_stage_was_removed_is_refused(store):
    candidate = make_candidate(store, "one")
    shutil.rmtree(candidate.done["evaluate"].directory)
    with pytest.raises(UserError, match="stages of this run are gone: evaluate"):
        decide_candidate(store, "digits", candidate)


@pytest.mark.parametrize(
    ("number", "told"), [(None, "had no champion before version 1"), (1, "version 1 is the champion of digits already"), (7, "no version 7")]
)
def test_a_way_back_that_leads_nowhere_is_refused(store, number, told):
    make_champion(store, "one")
    with pytest.raises(UserError, match=told):
        rollback(store, "digits", number, "why not")
    with pytest.raises(UserError, match="faces has no champion"):
        rollback(store, "faces", None, "why not")


@pytest.mark.parametrize("name", ["", "../digits", "a/b", ".hidden", "x" * 81])
def test_a_name_that_is_no_name_is_refused(store, name):
    with pytest.raises(UserError, match="no name for a model"):
        Registry(store).champion(name)


def test_an_export_that_fails_leaves_no_version(store):
    make_champion(store, "one")

    def broken(candidate, directory, verdict):
        (directory / "half").write_text("x")
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        register(store, "digits", make_candidate(store, "two"), VERDICT, broken)
    assert [p.name for p in (store.root / "models" / "digits" / "versions").iterdir()] == ["0001"]
    assert make_champion(store, "two").number == 2


def test_killed_at_any_step_a_promotion_has_happened_or_not(tmp_path):
    """And the same command makes it happen, once."""
    before = Store(tmp_path / "before")
    make_champion(before, "one")
    candidate = make_candidate(before, "two")

    def promote_two(store):
        version = register(store, "digits", candidate, VERDICT, export)
        promote(store, version, Registry(store).version("digits", 1), "a test", VERDICT)

    def fresh(n):
        shutil.copytree(before.root, tmp_path / str(n))

    fresh(1)
    for n in crashes(lambda n: promote_two(Store(tmp_path / str(n)))):
        store = Store(tmp_path / str(n))
        champion, said = Registry(store).champion("digits"), [e.body["version"] for e in Registry(store).history("digits")]
        assert champion.number == said[-1] and (champion.directory / "export" / "model.safetensors").is_file()
        promote_two(store)
        assert [e.body["version"] for e in Registry(store).history("digits")] == [1, 2]
        assert Registry(store).champion("digits").run_id == "cnn-lenet5-two"
        assert sorted(p.name for p in (store.root / "models" / "digits" / "versions").iterdir()) == ["0001", "0002"]
        assert store.ledger.complaints() == []
        assert read_json(store.root / "wandb" / "digits-2.json")["entry"] == Registry(store).history("digits")[-1].number
        fresh(n + 1)
