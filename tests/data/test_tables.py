"""Tables: the house's four rows, scikit-learn's diabetes, and a CSV file that a user brings."""

from __future__ import annotations

import gzip
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from components.data.sources.diabetes import read_diabetes
from components.data.sources.rows import read_rows
from components.data.sources.table import read_table
from components.errors import UserError

CSV = "size,city,price\n" + "\n".join(f"{n},{'ABC'[n % 3]},{10 * n + 0.5}" for n in range(30)) + "\n"


def table(folder: Path, text: str = CSV, **options):
    (folder / "t.csv").write_text(text)
    defaults = {"file": "t.csv", "target": "price", "kind": "regression", "validation_fraction": 0.1, "test_fraction": 0.2, "seed": 0}
    return read_table(folder, **{**defaults, **options})


def test_a_regression_table_keeps_each_row_together_and_deals_all(tmp_path):
    data = table(tmp_path, features=["size"])
    assert {name: len(split["targets"]) for name, split in data.splits.items()} == {"train": 21, "validation": 3, "test": 6}
    inputs, targets = (np.concatenate([split[c] for split in data.splits.values()]) for c in ("inputs", "targets"))
    np.testing.assert_array_equal(targets, 10 * inputs[:, 0] + 0.5)
    assert sorted(inputs[:, 0]) == list(range(30))
    assert inputs.dtype == targets.dtype == np.float32


def test_a_column_made_with_the_same_seed_is_not_sorted_over_the_splits(tmp_path):
    values = np.random.default_rng(0).uniform(size=300)
    data = table(tmp_path, "x,price\n" + "\n".join(f"{v},{v}" for v in values))
    means = [split["targets"].mean() for split in data.splits.values()]
    assert np.ptp(means) < 0.2


def test_a_classification_table_names_its_classes_and_is_stratified(tmp_path):
    data = table(tmp_path, target="city", kind="classification", features=["price", "size"], validation_fraction=0.2)
    assert data.columns["targets"].classes == ("A", "B", "C")
    for split in data.splits.values():
        assert len(set(np.bincount(split["targets"]))) == 1
        np.testing.assert_array_equal(split["targets"], split["inputs"][:, 1] % 3)


@pytest.mark.parametrize("folds", [2, 3, 7])
@pytest.mark.parametrize("labels", [np.arange(50) % 3, np.repeat([0, 1, 2], [31, 12, 7]), np.zeros(11, dtype=int)])
def test_folds_are_balanced_as_scikit_learns(tmp_path, labels, folds):
    from sklearn.model_selection import StratifiedKFold

    text = "row,k\n" + "\n".join(f"{i},{k}" for i, k in enumerate(labels))
    options = {"target": "k", "kind": "classification", "validation_fraction": 0.25, "folds": folds}
    dealt = [table(tmp_path, text, fold=i, **options).splits for i in range(folds)]
    for splits in dealt:
        rows = np.concatenate([split["inputs"][:, 0] for split in splits.values()])
        assert sorted(rows) == list(range(len(labels)))  # in one split each
        outside = len(labels) - len(splits["test"]["targets"])
        assert len(splits["validation"]["targets"]) == round(0.25 * outside)
        for split in splits.values():
            np.testing.assert_array_equal(split["targets"], labels[split["inputs"][:, 0].astype(int)])
    tests = [splits["test"] for splits in dealt]
    assert sorted(np.concatenate([test["inputs"][:, 0] for test in tests])) == list(range(len(labels)))
    reference = StratifiedKFold(folds).split(labels, labels)
    classes = len(set(labels))
    assert [list(np.bincount(test["targets"], minlength=classes)) for test in tests] == [
        list(np.bincount(labels[rows], minlength=classes)) for _, rows in reference
    ]


def test_folds_of_a_regression_are_of_one_size_and_the_seed_chooses_them(tmp_path):
    sizes = {
        seed: [table(tmp_path, features=["size"], fold=i, folds=4, seed=seed).splits["test"]["inputs"][:, 0] for i in range(4)] for seed in (0, 1)
    }
    assert [len(test) for test in sizes[0]] == [8, 8, 7, 7]
    assert sorted(np.concatenate(sizes[0])) == list(range(30)) and list(sizes[0][0]) != list(sizes[1][0])


@pytest.mark.parametrize(
    "options", [{"fold": 0}, {"folds": 3}, {"fold": 3, "folds": 3}, {"fold": -1, "folds": 3}, {"fold": 0, "folds": 31}, {"fold": 0, "folds": 1}]
)
def test_a_fold_that_is_none_is_refused(tmp_path, options):
    with pytest.raises(UserError, match="names no fold"):
        table(tmp_path, features=["size"], **options)


def test_classes_that_are_numbers_go_by_value(tmp_path):
    data = table(tmp_path, "x,k\n" + "\n".join(f"{i},{(2, 10)[i % 2]}" for i in range(20)), target="k", kind="classification")
    assert data.columns["targets"].classes == ("2", "10")


def test_another_delimiter_quotes_blank_lines_and_a_byte_order_mark(tmp_path):
    text = '\ufeff"size";price\n' + "\n".join(f'"{i}" ; {i}.5' for i in range(10)) + "\n\n"
    data = table(tmp_path, text, delimiter=";")
    assert sum(len(split["targets"]) for split in data.splits.values()) == 10


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (CSV, {"target": "prise"}, "no column 'prise', did you mean 'price'"),
        (CSV, {"features": ["sizes"]}, "no column 'sizes', did you mean 'size'"),
        (CSV, {"features": ["size", "price"]}, "cannot predict"),
        (CSV, {}, "line 2: column 'city' holds no finite number"),
        (CSV.replace("\n7,", "\n,"), {"features": ["size"]}, "line 9: column 'size'"),
        (CSV.replace("80.5", "nan"), {"features": ["size"]}, "line 10: column 'price'"),
        (CSV + "1,2\n", {"features": ["size"]}, "line 32: 2 cells"),
        ("a,a\n1,2\n", {"target": "a"}, "two columns of one name"),
        ("size,price\n", {}, "holds no table"),
        (CSV, {"file": "tt.csv"}, "not there, did you mean 't.csv'"),
        (CSV, {"kind": "ranking"}, "kind"),
        (CSV, {"features": ["size"], "test_fraction": 0.95}, "do not fit"),
    ],
)
def test_mistakes_are_told_with_their_place(tmp_path, text, options, message):
    with pytest.raises(UserError, match=message):
        table(tmp_path, text, **options)


def test_the_house_table_is_each_split():
    data = read_rows(Path(), ["size"], [[2104, 460], [1416, 232], [1534, 315], [852, 178]])
    for split in data.splits.values():
        assert split["inputs"][:, 0].mean() == 1476.5  # notes 003, section 16B: mean and population deviation
        assert split["inputs"][:, 0].std() == pytest.approx(444.613, abs=1e-3)
    with pytest.raises(UserError, match="has 1 values"):
        read_rows(Path(), ["size"], [[1]])


def test_diabetes_is_scikit_learns(tmp_path):
    from sklearn.datasets import load_diabetes

    for name in ("diabetes_data_raw.csv", "diabetes_target.csv"):
        packed = resources.files("sklearn") / "datasets" / "data" / f"{name}.gz"
        (tmp_path / name).write_bytes(gzip.decompress(packed.read_bytes()))
    data = read_diabetes(tmp_path, [*"abcdefghij"], 0.1, 0.2, seed=0)
    inputs, targets = (np.concatenate([split[c] for split in data.splits.values()]) for c in ("inputs", "targets"))
    wanted, goals = load_diabetes(return_X_y=True, scaled=False)
    mine = np.concatenate([inputs, targets[:, None]], axis=1)
    theirs = np.concatenate([wanted, goals[:, None]], axis=1).astype(np.float32)
    np.testing.assert_array_equal(mine[np.lexsort(mine.T)], theirs[np.lexsort(theirs.T)])
    with pytest.raises(UserError, match="do not fit"):
        read_diabetes(tmp_path, ["age"], 0.1, 0.2, seed=0)
