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
