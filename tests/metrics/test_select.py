"""The samples that a report shows."""

from __future__ import annotations

import torch

from components.metrics.select import select_samples


def test_worst_then_wrong_then_right_by_hand() -> None:
    ids = torch.tensor([10, 11, 12, 13, 14, 15])
    losses = torch.tensor([0.1, 5.0, 0.9, 0.2, 3.0, 0.8])
    correct = torch.tensor([True, False, False, True, False, False])
    assert select_samples(ids, losses, correct, worst=2, wrong=1, right=1).tolist() == [11, 14, 12, 10]


def test_some_are_spread_over_the_ids() -> None:
    chosen = select_samples(torch.arange(100), torch.zeros(100), torch.ones(100, dtype=torch.bool), worst=0, wrong=5, right=4)
    assert chosen.tolist() == [0, 25, 50, 75]


def test_equal_losses_go_by_id() -> None:
    chosen = select_samples(torch.tensor([9, 3, 7]), torch.ones(3), torch.zeros(3, dtype=torch.bool), worst=2, wrong=0, right=0)
    assert chosen.tolist() == [3, 7]


def test_the_order_of_the_samples_does_not_matter_and_ids_are_unique() -> None:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randperm(997, generator=generator)
    losses = torch.rand(997, generator=generator).round(decimals=2)
    correct = torch.rand(997, generator=generator) > 0.1
    chosen = select_samples(ids, losses, correct)
    shuffle = torch.randperm(997, generator=generator)
    assert torch.equal(chosen, select_samples(ids[shuffle], losses[shuffle], correct[shuffle]))
    assert len(chosen) == 36 == len(set(chosen.tolist()))


def test_fewer_samples_than_wanted() -> None:
    assert sorted(select_samples(torch.arange(3), torch.rand(3), torch.tensor([True, False, True])).tolist()) == [0, 1, 2]
    assert len(select_samples(torch.arange(0), torch.rand(0), torch.ones(0, dtype=torch.bool))) == 0
