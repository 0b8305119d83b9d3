"""Stratified splits and statistics, against numpy and by hand."""

from __future__ import annotations

import numpy as np
import pytest

from components.data.splits import stratified_split
from components.data.statistics import column_statistics
from components.errors import UserError


def test_splits_cover_every_row_once_in_exact_sizes():
    labels = np.random.default_rng(0).integers(0, 7, 1000)
    splits = stratified_split(labels, {"test": 201, "validation": 99}, "train", seed=3)
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 700, "test": 201, "validation": 99}
    assert sorted(np.concatenate(list(splits.values()))) == list(range(1000))


def test_each_class_has_its_share_to_within_a_row():
    labels = np.repeat([0, 1, 2], [700, 200, 100])
    splits = stratified_split(labels, {"test": 105}, "train", seed=0)
    # 105 * (0.7, 0.2, 0.1) = 73.5, 21, 10.5; the two halves share one row.
    counts = np.bincount(labels[splits["test"]])
    assert counts[1] == 21 and counts.sum() == 105 and abs(counts - [73.5, 21, 10.5]).max() <= 0.5


def test_the_seed_chooses_the_rows():
    labels = np.zeros(50, dtype=int)
    drawn = [stratified_split(labels, {"test": 10}, "train", seed)["test"].tolist() for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_splits_that_leave_no_training_rows_are_refused():
    with pytest.raises(UserError, match="do not fit"):
        stratified_split(np.zeros(10, dtype=int), {"test": 5, "validation": 5}, "train", 0)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "bool", "int64", "float32"])
@pytest.mark.parametrize("shape", [(500,), (500, 3), (500, 3, 4, 5)])
def test_statistics_are_numpys_per_channel(dtype, shape):
    values = (np.random.default_rng(0).normal(size=shape) * 40 + 60).astype(dtype)
    axes = tuple(i for i in range(values.ndim) if i != 1)
    statistics = column_statistics([values[:100], values[100:499], values[499:]])
    wide = values.astype(np.float64)
    np.testing.assert_allclose(statistics.mean, np.atleast_1d(wide.mean(axis=axes)), rtol=1e-12)
    np.testing.assert_allclose(statistics.std, np.atleast_1d(wide.std(axis=axes)), rtol=1e-10)
    assert (statistics.minimum, statistics.maximum) == (wide.min(), wide.max())


def test_byte_statistics_do_not_depend_on_the_blocks_at_all():
    values = np.random.default_rng(0).integers(0, 256, (999, 1, 8, 8), dtype=np.uint8)
    assert column_statistics([values]) == column_statistics(np.array_split(values, 13))


def test_a_large_level_does_not_eat_the_deviation():
    values = 1e9 + np.array([0.0, 1.0, 2.0, 3.0])
    assert column_statistics([values[:1], values[1:]]).std == pytest.approx((1.25**0.5,), rel=1e-6)


def test_no_rows_have_no_statistics():
    with pytest.raises(ValueError, match="no rows"):
        column_statistics([])
