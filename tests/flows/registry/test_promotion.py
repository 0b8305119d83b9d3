"""Promotion and the way back: what is champion after each step, also where somebody is killed at one."""

from __future__ import annotations

import shutil

import pytest

from components.errors import RunError, UserError
from components.files import read_json
from flows.registry.promotion import promote, register, rollback
from flows.registry.versions import Registry
from flows.runs import champions
from flows.store import Store
from tests.crash import crashes
from tests.flows.registry.made import VERDICT, export, make_candidate, make_champion


@pytest.fixture
def store(tmp_path):
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
    assert not promote(store, version, None, "again")  # it is champion already, whoever it was compared with
    assert len(Registry(store).history("digits")) == 1


def test_whoever_was_compared_with_another_champion_changes_nothing(store):
    first = make_champion(store, "one")
    late = register(store, "digits", make_candidate(store, "late"), VERDICT, export)
    make_champion(store, "two")
    with pytest.raises(RunError, match="version 3 became champion of digits while version 1 was compared with"):
        promote(store, late, first, "the gate was passed")
    assert Registry(store).champion("digits").number == 3


def test_the_way_back_and_what_is_not_wanted_any_more(store):
    make_champion(store, "one")
    make_champion(store, "two")
    assert rollback(store, "digits", None, "two sees ghosts").number == 1
    registry = Registry(store)
    assert registry.champion("digits").number == 1 and registry.rejected("digits") == {2}
    promote(store, registry.version("digits", 2), registry.champion("digits"), "the ghosts are real")
    assert registry.rejected("digits") == set()
    make_champion(store, "three")
    assert rollback(store, "digits", 1, "the first was best").number == 1


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
        promote(store, version, Registry(store).version("digits", 1), "a test")

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
        fresh(n + 1)
