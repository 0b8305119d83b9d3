"""Gathering by sample: order, and the two faults of dealing that it must find."""

from __future__ import annotations

import pytest
import torch

from components.metrics.base import assert_all_samples, gather_samples


def _state(*ids: int) -> dict[str, torch.Tensor]:
    return {"sample_id": torch.tensor(ids, dtype=torch.int64), "values": torch.tensor([10.0 * i for i in ids], dtype=torch.float64)}


def test_samples_come_in_order_of_their_id() -> None:
    gathered = gather_samples([_state(4, 0), _state(), _state(2, 9)])
    assert gathered["sample_id"].tolist() == [0, 2, 4, 9]
    assert gathered["values"].tolist() == [0.0, 20.0, 40.0, 90.0]


@pytest.mark.parametrize("states", [[_state(1, 7, 7)], [_state(1, 7), _state(7, 3)]], ids=["within a rank", "across ranks"])
def test_a_sample_seen_twice_is_named(states: list[dict[str, torch.Tensor]]) -> None:
    with pytest.raises(AssertionError, match=r"1 samples were evaluated more than once: sample_id 7$"):
        gather_samples(states)


def test_every_sample_once_passes() -> None:
    assert_all_samples([_state(2, 0), _state(1)], torch.arange(3))


def test_missing_samples_are_named_even_the_last() -> None:
    with pytest.raises(AssertionError, match=r"2 of 4 samples were not evaluated: sample_id 1, 3$"):
        assert_all_samples([_state(0), _state(2)], torch.arange(4))


def test_a_sample_from_elsewhere_is_named() -> None:
    with pytest.raises(AssertionError, match=r"1 samples were evaluated that nobody asked for: sample_id 8$"):
        assert_all_samples([_state(0, 8), _state(1)], torch.arange(2))


def test_a_long_list_of_ids_is_cut() -> None:
    with pytest.raises(AssertionError, match=r"sample_id 0, 1, 2, 3, 4, \.\.\.$"):
        assert_all_samples([_state()], torch.arange(100))
