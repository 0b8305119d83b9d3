"""The ledger: every entry follows from the one before; what was removed or changed shows."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from components.errors import UserError
from flows.ledger import BEGINNING, Ledger
from tests.crash import crashes

ROOT = Path(__file__).parents[2]


@pytest.fixture
def ledger(tmp_path):
    made = Ledger(tmp_path)
    for value in range(5):
        made.append("note", {"value": value})
    return made


def lines(ledger: Ledger) -> list[str]:
    return ledger.path.read_text().splitlines()


def put(ledger: Ledger, changed: list[str]) -> list[str]:
    ledger.path.write_text("".join(line + "\n" for line in changed))
    return ledger.complaints()


def test_entries_are_numbered_and_chained(ledger):
    entries = list(ledger.entries())
    assert [e.number for e in entries] == [1, 2, 3, 4, 5] and [e.body["value"] for e in entries] == [0, 1, 2, 3, 4]
    assert [e.previous for e in entries] == [BEGINNING, *(e.sha256 for e in entries[:-1])]
    assert ledger.complaints() == []


def test_an_empty_ledger_is_sound(tmp_path):
    assert list(Ledger(tmp_path).entries()) == [] and Ledger(tmp_path).complaints() == []


def test_a_changed_entry_is_named(ledger):
    changed = lines(ledger)
    changed[2] = changed[2].replace('"value":2', '"value":9')
    assert put(ledger, changed) == ["entry 3 (line 3) was changed: its hash is not that of its content"]


def test_an_entry_rewritten_with_a_hash_of_its_own_breaks_the_chain(ledger, tmp_path):
    forger = Ledger(tmp_path / "forged")
    for value in (0, 1, 9):
        forger.append("note", {"value": value})
    changed = lines(ledger)
    changed[2] = lines(forger)[2]
    told = put(ledger, changed)
    assert any("entry 4 (line 4) does not follow" in t for t in told)


def test_removed_lines_are_missed_in_the_middle_at_the_end_and_for_ever(ledger):
    whole = lines(ledger)
    assert put(ledger, whole[:1] + whole[3:]) == ["entries 2 to 3 are missing before line 2"]
    assert put(ledger, whole[:3]) == ["entries 4 to 5 are missing at the end"]
    assert ledger.append("note", {}).number == 6  # the gap is not filled
    assert ledger.complaints() == ["entries 4 to 5 are missing before line 4"]


def test_the_last_entry_replaced_is_seen_by_the_head(ledger, tmp_path):
    last = json.loads(lines(ledger)[-1])
    forger = Ledger(tmp_path / "forged")
    for value in range(4):
        forger.append("note", {"value": value})
    forger.path.write_text("".join(line + "\n" for line in lines(ledger)[:-1]))
    forger._head.write_text(json.dumps({"number": 4, "sha256": last["previous"]}))
    forged = forger.append("note", {"value": 99})
    assert forged.number == 5 and put(ledger, lines(forger)) == ["the last entry, 5, is not the one that was written"]


def test_a_torn_last_line_was_never_written(ledger):
    with open(ledger.path, "a") as stream:
        stream.write('{"number":6,"at":"20')
    assert len(list(ledger.entries())) == 5 and ledger.complaints() == []
    assert ledger.append("note", {}).number == 6
    assert ledger.complaints() == []


def test_a_line_that_is_no_entry_stops_the_writer_and_is_told(ledger):
    with open(ledger.path, "a") as stream:
        stream.write("hello\n")
    with pytest.raises(UserError, match="last line is no entry"):
        ledger.append("note", {})
    assert ledger.complaints() == ["line 6 of the ledger is no entry"]


def test_a_clock_that_is_set_back_does_no_harm(tmp_path, monkeypatch):
    ledger = Ledger(tmp_path)
    ledger.append("note", {"value": 1})

    class Earlier(datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(1999, 12, 31, tzinfo=tz)

    monkeypatch.setattr("flows.ledger.datetime", Earlier)
    assert ledger.append("note", {"value": 2}).number == 2
    assert [e.body["value"] for e in ledger.entries()] == [1, 2] and ledger.complaints() == []


def test_killed_at_any_step_of_an_append_the_chain_is_whole(tmp_path):
    for n in range(1, 40):
        Ledger(tmp_path / str(n)).append("note", {"value": 0})
    for n in crashes(lambda n: Ledger(tmp_path / str(n)).append("note", {"value": 1}) and None):
        ledger = Ledger(tmp_path / str(n))
        ledger.append("note", {"value": 2})
        assert ledger.complaints() == []
        assert [e.body["value"] for e in ledger.entries()] in ([0, 2], [0, 1, 2])


def test_many_writers_at_once_make_one_chain(tmp_path):
    code = f"""
from pathlib import Path
from flows.ledger import Ledger
for i in range(25):
    Ledger(Path({str(tmp_path)!r})).append("note", {{"i": i}})
"""
    writers = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) for _ in range(4)]
    assert [w.wait(200) for w in writers] == [0] * 4
    assert [e.number for e in Ledger(tmp_path).entries()] == list(range(1, 101)) and Ledger(tmp_path).complaints() == []


def test_an_entry_longer_than_what_is_read_at_first_is_followed(ledger):
    ledger.append("note", {"text": "x" * 200_000})
    with open(ledger.path, "a") as stream:
        stream.write("torn" * 100_000)
    assert ledger.append("note", {}).number == 7 and ledger.complaints() == []
    assert [e.number for e in ledger.entries()] == [1, 2, 3, 4, 5, 6, 7]
