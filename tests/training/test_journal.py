"""metrics.jsonl: whole lines in order, whatever was killed, and a follower that misses nothing."""

from __future__ import annotations

import json
import math

from components.training.journal import Follower, Journal, parse_lines, read, rewind


def write(path, *steps: int, kind: str = "step") -> None:
    journal = Journal(path)
    for step in steps:
        journal.write(kind, step=step, epoch=0, seconds=float(step))
    journal.close()


def test_records_come_back_in_order_and_lines_are_flushed_at_once(tmp_path):
    journal = Journal(tmp_path / "deep" / "metrics.jsonl")
    journal.write("step", step=1, epoch=0, seconds=0.5, loss=0.25)
    assert read(tmp_path / "deep" / "metrics.jsonl") == [{"kind": "step", "step": 1, "epoch": 0, "seconds": 0.5, "loss": 0.25}]
    journal.close()
    assert read(tmp_path / "nothing.jsonl") == []


def test_what_is_not_finite_becomes_null(tmp_path):
    journal = Journal(tmp_path / "m.jsonl")
    journal.write("epoch", step=1, loss=math.nan, rate=math.inf, name="x")
    journal.close()
    (line,) = (tmp_path / "m.jsonl").read_text().splitlines()
    assert json.loads(line, parse_constant=lambda name: 1 / 0) == {"kind": "epoch", "step": 1, "loss": None, "rate": None, "name": "x"}


def test_a_torn_last_line_is_skipped_and_gone_after_a_rewind(tmp_path):
    path = tmp_path / "m.jsonl"
    write(path, 1, 2)
    with open(path, "a") as stream:
        stream.write('{"kind": "step", "st')
    assert [r["step"] for r in read(path)] == [1, 2]
    rewind(path, 2)
    write(path, 3)
    assert [r["step"] for r in read(path)] == [1, 2, 3]
    assert list(parse_lines('5\n"x"\n[]\n')) == []


def test_rewinding_drops_the_steps_that_will_be_made_again(tmp_path):
    path = tmp_path / "m.jsonl"
    write(path, 0, kind="event")
    write(path, 5, 10, 15)
    assert rewind(path, 10) == 10.0
    told = [("event", 0), ("step", 5), ("step", 10)]
    lost = {"kind": "event", "step": 10, "epoch": 0, "seconds": 10.0, "name": "lost", "steps": 5, "lost_seconds": 5.0, "reached_seconds": 15.0}
    assert [(r["kind"], r["step"]) for r in read(path)[:-1]] == told and read(path)[-1] == lost
    assert rewind(path, 10) == 10.0 and len(read(path)) == 4  # there is nothing more to lose
    assert rewind(path, 0) == 0.0
    assert [(r["kind"], r.get("lost_seconds")) for r in read(path)] == [
        ("event", None),
        ("event", 5.0),
        ("event", 10.0),
    ]
    assert rewind(tmp_path / "nothing.jsonl", 3) == 0.0 and not (tmp_path / "nothing.jsonl").exists()


def test_a_follower_gives_each_whole_line_once_and_waits_for_the_rest_of_a_torn_one(tmp_path):
    path = tmp_path / "m.jsonl"
    follower = Follower(path)
    assert follower.new_records() == []
    write(path, 1)
    assert [r["step"] for r in follower.new_records()] == [1]
    with open(path, "a") as stream:
        stream.write('{"kind": "step", "step": 2}\n{"kind": "step", "st')
        stream.flush()
        assert [r["step"] for r in follower.new_records()] == [2]
        stream.write('ep": 3}\n')
    assert [r["step"] for r in follower.new_records()] == [3]
    assert follower.new_records() == []


def test_a_follower_reads_on_when_the_stage_s_directory_is_renamed_and_begins_anew_with_a_new_file(tmp_path):
    (tmp_path / "key.partial").mkdir()
    path = tmp_path / "key.partial" / "metrics.jsonl"
    write(path, 1)
    follower = Follower(path)
    follower.new_records()
    write(path, 2)
    (tmp_path / "key.partial").rename(tmp_path / "key")
    assert [r["step"] for r in follower.new_records()] == [2]
    write(path, 7)  # a resumed run's rewind puts another file in its place
    assert [r["step"] for r in follower.new_records()] == [7]


def test_of_a_rewound_journal_a_follower_gives_what_is_new(tmp_path):
    """Ray restarts a group while the display and the tracker read on: they have seen the steps before the checkpoint."""
    path = tmp_path / "m.jsonl"
    write(path, 1, 2, 3, 4)
    follower = Follower(path)
    assert len(follower.new_records()) == 4
    rewind(path, 2)
    assert [r["name"] for r in follower.new_records()] == ["lost"]  # steps 3 and 4, which will be made again
    write(path, 3)
    assert [r["step"] for r in follower.new_records()] == [3]
    rewind(path, 3)  # takes nothing back
    write(path, 4)
    assert [r["step"] for r in follower.new_records()] == [4]
