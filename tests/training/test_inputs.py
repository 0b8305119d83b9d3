"""Inputs: what a rank trains on and evaluates, whatever the number of ranks, micro-batches, threads and processes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch

from components.data.dataset import ShardDataset
from components.data.draws import Draws
from components.data.sampling import batches_per_epoch, epoch_batches
from components.data.streams import Order, Source, Steps, Stream, direct
from components.data.transforms import RandomShift, Standardize
from components.errors import UserError
from components.spec.parse import parse_spec
from components.training.inputs import Inputs, MicroBatch

ROWS, BATCH = 41, 8  # of the training split of conftest.py, and of the specification


@dataclass
class Place:
    """A session without a group: Inputs only asks where it is, and for Ray's stream."""

    rank: int = 0
    world: int = 1
    stream: Stream | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


@pytest.fixture(scope="module")
def inputs(data, plain):
    """Make Inputs of a split with fields of `trainer` and `performance` changed; images shift at random in training."""
    spec = parse_spec(plain("augment=shift"))

    def make(split: str | tuple[str, ...] = "train", rank: int = 0, world: int = 1, remote: Stream | None = None, **fields) -> Inputs:
        performance = {f.name: fields.pop(f.name) for f in dataclasses.fields(spec.performance) if f.name in fields}
        changed = replace(spec, trainer=replace(spec.trainer, **fields), performance=replace(spec.performance, **performance))
        return Inputs(data, split, changed, Place(rank, world, remote))

    return make


def samples(steps: Iterator[list[MicroBatch]]) -> list[dict[int, torch.Tensor]]:
    """Of each step, the image of each sample that counts."""
    found = []
    for step in steps:
        counted = [micro for micro in step if micro.weight]
        found.append({int(i): image for micro in counted for i, image in zip(micro.batch["sample_id"], micro.batch["inputs"], strict=True)})
    return found


def require_equal(found: list[dict[int, torch.Tensor]], expected: list[dict[int, torch.Tensor]]) -> None:
    assert [set(step) for step in found] == [set(step) for step in expected]
    assert all(torch.equal(step[i], theirs[i]) for step, theirs in zip(found, expected, strict=True) for i in step)


def test_training_batches_are_those_of_the_order_transformed_by_the_draws_of_their_samples(inputs, data):
    made, dataset = inputs(), ShardDataset(data, "train")
    wanted = list(epoch_batches(ROWS, BATCH, 0, 3, 0, 1))
    for (micro,), part in zip(made.training(3), wanted, strict=True):
        raw, draws = dataset.fetch(part.indices), Draws(0, 3, torch.from_numpy(part.indices))
        expected = Standardize(dataset.card)(RandomShift(1)(raw, draws), draws)
        assert torch.equal(micro.batch["inputs"], expected["inputs"]) and torch.equal(micro.batch["targets"], raw["targets"])
        assert torch.equal(micro.draws.uniform("noise", 2), draws.uniform("noise", 2))
        assert micro.weight == 1.0


@pytest.mark.parametrize(("world", "accumulate"), [(1, 3), (2, 1), (2, 2), (3, 2)])
def test_ranks_and_micro_batches_share_the_same_steps(inputs, world, accumulate):
    """41 rows end in a batch of one: the others take a stand-in, which does not count."""
    alone = samples(inputs().training(1))
    ranks = [list(inputs(accumulate=accumulate, rank=rank, world=world).training(1)) for rank in range(world)]
    assert all(len(step) == accumulate for steps in ranks for step in steps)
    together = [[micro for rank in step for micro in rank] for step in zip(*ranks, strict=True)]
    assert [sum(len(m.batch["sample_id"]) for m in step if m.weight) for step in together] == [8, 8, 8, 8, 8, 1]
    require_equal(samples(iter(together)), alone)


def test_the_number_of_a_micro_batch_is_that_of_a_rank(inputs):
    """Rank 1 of 2 with 2 micro-batches takes the places of ranks 1 and 3 of 4."""
    first = next(inputs(accumulate=2, rank=1, world=2).training(0))
    places = [next(inputs(rank=rank, world=4).training(0))[0] for rank in (1, 3)]
    assert [m.batch["sample_id"].tolist() for m in first] == [m.batch["sample_id"].tolist() for m in places]


@pytest.mark.parametrize("fields", [{}, {"prefetch_batches": 2}])
def test_an_epoch_goes_on_where_it_was_left(inputs, fields):
    whole = samples(inputs(**fields).training(2))
    require_equal(samples(inputs(**fields).training(2, start_sample=24)), whole[3:])
    other = samples(inputs(**fields, batch_size=5).training(2, start_sample=24))
    assert [len(step) for step in other] == [5, 5, 5, 2]
    rest = {i: image for step in whole[3:] for i, image in step.items()}
    require_equal([{i: image for step in other for i, image in step.items()}], [rest])


def test_contiguous_order_is_passed_on(inputs):
    # 41 rows in 8 streams: the first has six rows, 0 to 5, the others five.
    firsts = [step[0].batch["sample_id"].tolist() for step in inputs(order="contiguous").training(0)]
    assert firsts[0] == [0, 6, 11, 16, 21, 26, 31, 36] and firsts[-1] == [5]
    with pytest.raises(UserError, match="between two batches"):
        inputs(order="contiguous").training(0, start_sample=9)  # at once, before the first step is asked for


@pytest.mark.parametrize("fields", [{"prefetch_batches": 1}, {"prefetch_batches": 7}, {"loader_workers": 1, "prefetch_batches": 2}])
def test_how_rows_are_fetched_changes_nothing(inputs, fields):
    made = inputs(**fields, accumulate=2)
    try:
        for epoch in (0, 1):
            require_equal(samples(made.training(epoch)), samples(inputs(accumulate=2).training(epoch)))
        found, expected = list(made.evaluation(7)), list(inputs().evaluation(7))
        assert all(torch.equal(mine[name], theirs[name]) for (mine, _), (theirs, _) in zip(found, expected, strict=True) for name in theirs)
    finally:
        made.close()


def test_evaluation_is_in_row_order_standardised_and_not_augmented(inputs, data):
    dataset = ShardDataset(data, "validation")
    raw = dataset.fetch(np.arange(30))
    batches = list(inputs("validation").evaluation(7))
    assert [len(batch["sample_id"]) for batch, _ in batches] == [7, 7, 7, 7, 2] and all(counted is True for _, counted in batches)
    joined = torch.cat([batch["inputs"] for batch, _ in batches])
    assert torch.equal(joined, Standardize(dataset.card)(raw, Draws(0, 0, raw["sample_id"]))["inputs"])


@pytest.mark.parametrize("world", [2, 3, 7])
def test_in_lockstep_every_rank_calls_equally_often_and_each_sample_counts_once(inputs, world):
    ranks = [list(inputs("validation", rank=rank, world=world).evaluation(7, lockstep=True)) for rank in range(world)]
    assert {len(batches) for batches in ranks} == {batches_per_epoch(5, world)}  # 30 rows are 5 batches of 7
    counted = [i for batches in ranks for batch, counts in batches if counts for i in batch["sample_id"].tolist()]
    assert sorted(counted) == list(range(30))
    assert all(len(batch["inputs"]) > 0 for batches in ranks for batch, _ in batches)


def test_an_evaluation_may_end_early(inputs):
    made = inputs("validation")
    assert (made.evaluated_rows(7, 2), made.evaluated_rows(7, None), made.evaluated_rows(7, 99)) == (14, 30, 30)
    ranks = [list(inputs("validation", rank=rank, world=2).evaluation(7, max_batches=3)) for rank in range(2)]
    assert [[batch["sample_id"].tolist() for batch, _ in batches] for batches in ranks] == [
        [list(range(7)), list(range(14, 21))],
        [list(range(7, 14))],
    ]


def test_several_splits_are_trained_on_as_one(inputs, data):
    made = inputs(("train", "validation"), batch_size=71)
    assert made.rows == 71
    (step,) = made.training(0)
    assert sorted(step[0].batch["sample_id"].tolist()) == list(range(71))
    targets = step[0].batch["targets"][step[0].batch["sample_id"].argsort()]
    expected = torch.cat([ShardDataset(data, name).fetch(np.arange(rows))["targets"] for name, rows in (("train", 41), ("validation", 30))])
    assert torch.equal(targets, expected)


def test_the_remote_stream_is_used_when_it_is_asked_for_and_only_then(inputs):
    used: list[Source] = []

    def remote(dataset: Source, order: Order) -> Steps:
        used.append(dataset)
        return direct(dataset, order)

    asked = inputs(loader="ray_data", remote=remote)
    require_equal(samples(asked.training(0)), samples(inputs(remote=remote).training(0)))
    list(asked.evaluation(50))
    assert used == [asked.dataset, asked.dataset]


def test_ray_data_without_ray_is_refused(inputs):
    with pytest.raises(UserError, match="needs Ray"):
        inputs(loader="ray_data")
