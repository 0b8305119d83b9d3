"""From journal to rows: what was killed, rewound and read again gives each step one row."""

from __future__ import annotations

import math

from flows.adapters.wandb_pieces import pieces
from flows.adapters.wandb_rows import Rows


def step(number: int, **more: float | None) -> dict[str, object]:
    return {"kind": "step", "step": number, "epoch": 0, "loss": 1 / number, **more}


def epoch(number: int) -> dict[str, object]:
    return {"kind": "epoch", "step": number, "epoch": 1, "validation/accuracy": number / 10}


def test_the_records_of_a_step_are_one_row_and_events_are_none():
    rows = Rows(logged=-1)
    events = [{"kind": "event", "name": "start", "step": 0, "total_steps": 2}, {"kind": "event", "name": "finding", "step": 1, "value": 3.0}]
    assert rows.take([*events, step(1), epoch(1)]) == []  # more of step 1 may come
    assert rows.take([step(2)]) == [{"step": 1, "epoch": 1, "loss": 1.0, "validation/accuracy": 0.1}]
    assert rows.rest() == [{"step": 2, "epoch": 0, "loss": 0.5}]
    assert rows.rest() == [] and rows.logged == 2


def test_a_journal_that_was_rewound_and_is_read_again_gives_each_step_once():
    whole = [record for n in range(1, 7) for record in (step(n), epoch(n))]
    rows = Rows(logged=-1)
    told = rows.take(whole[:9])  # up to the step record of 5, whose epoch record was never written
    told += rows.take(whole[:6] + whole[6:])  # rewound to 3 and made again, read from the beginning
    told += rows.rest()
    assert [row["step"] for row in told] == [1, 2, 3, 4, 5, 6]
    assert all(row["validation/accuracy"] == row["step"] / 10 for row in told)


def test_what_is_logged_is_left_out_and_what_is_unfinished_is_told_apart():
    rows = Rows(logged=2)
    assert rows.take([step(1), step(2), step(3), step(4)]) == [{"step": 3, "epoch": 0, "loss": 1 / 3}]
    assert rows.unfinished == {"step": 4, "epoch": 0, "loss": 0.25} and rows.logged == 3


def test_what_is_no_number_stays_one():
    (row,) = [*Rows(-1).take([step(1, gradient_norm=None), step(2)])]
    assert math.isnan(row["gradient_norm"])


def test_pieces_begun_in_one_second_are_numbered_and_in_order(tmp_path):
    for name in ("offline-run-20261122_004055-60ad57bb-1", "run-20261122_004056-60ad57bb", "offline-run-20261122_004055-60ad57bb", "latest-run"):
        (tmp_path / "runs" / "r" / "wandb" / name).mkdir(parents=True)
    (tmp_path / "runs" / "other" / "wandb" / "offline-run-20261122_004054-ffff0000").mkdir(parents=True)
    names = [piece.directory.name for piece in pieces(tmp_path / "runs", "60ad57bb")]
    assert names == ["offline-run-20261122_004055-60ad57bb", "offline-run-20261122_004055-60ad57bb-1", "run-20261122_004056-60ad57bb"]
    assert {piece.identifier for piece in pieces(tmp_path / "runs")} == {"60ad57bb", "ffff0000"}
    assert pieces(tmp_path / "runs", "60ad57bb")[1].log.name == "run-60ad57bb.wandb"
