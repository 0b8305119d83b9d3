"""Two data versions: the same, equal in kind, moved; columns of every shape."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from components.drift.__main__ import main
from components.drift.drift import drift
from components.drift.spec import DriftSpec
from components.errors import UserError
from components.spec.parse import parse
from tests.drift.versions import ragged, write_version

OPTIONS = DriftSpec(rows=300, mmd_rows=100)
CLASSES = {"targets": ("a", "b", "c"), "masks": ("a", "b", "c"), "tokens": ("a", "b", "c")}


def columns(seed: int, brightness: float = 0.0, prior: tuple[float, ...] = (0.3, 0.3, 0.4), longer: int = 0, boxes: float = 0.0, mask: float = 0.5):
    """300 rows with a column of each kind."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(2, 9, 300) + longer
    return {
        "inputs": (generator.integers(0, 200, (300, 3, 4, 4)) + brightness).clip(0, 255).astype(np.uint8),
        "table": generator.normal(size=(300, 3)).astype(np.float32) * np.float32([1, 1e3, 1e-3]),
        "price": generator.normal(size=300).astype(np.float32),
        "targets": generator.choice(3, 300, p=prior).astype(np.int64),
        "masks": (generator.random((300, 4, 4)) < generator.beta(5 * mask, 5 * (1 - mask), 300)[:, None, None]).astype(np.uint8),
        "tokens": ragged([generator.integers(0, 3, n) for n in lengths]),
        "boxes": ragged([(generator.random((n, 4)) + boxes).astype(np.float32) for n in generator.integers(0, 4, 300)]),
    }


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> Path:
    return write_version(tmp_path_factory.mktemp("reference") / "a", columns(0), CLASSES)


def test_the_same_version_has_not_drifted_and_no_shard_is_read(reference, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(reference / "card.json", copy)  # and none of the shards
    result = drift(reference, copy, OPTIONS)
    assert (result["drifted"], result["score"], result["features"]) == (False, 0.0, [])


def test_other_rows_of_the_same_kind_have_not_drifted(reference, tmp_path):
    result = drift(reference, write_version(tmp_path / "b", columns(1), CLASSES), OPTIONS)
    assert not result["drifted"] and result["score"] < 1, [f for f in result["features"] if f["drifted"]]
    measured = {(f["name"], f["measure"]) for f in result["features"]}
    expected = {("inputs[2] minimum", "ks"), ("inputs rows", "mmd"), ("table[1]", "psi"), ("price", "ks"), ("targets classes", "psi")}
    expected |= {("masks classes", "psi"), ("tokens length", "ks"), ("tokens classes", "psi"), ("boxes[3] values", "psi"), ("boxes length", "ks")}
    assert expected <= measured


@pytest.mark.parametrize(
    ("change", "feature"),
    [
        ({"brightness": 25.0}, "inputs[0] mean"),
        ({"brightness": 25.0}, "inputs rows"),
        ({"prior": (0.8, 0.1, 0.1)}, "targets classes"),
        ({"longer": 3}, "tokens length"),
        ({"boxes": 0.4}, "boxes[1] values"),
        ({"mask": 0.8}, "masks classes"),
    ],
)
def test_a_change_is_found_where_it_was_made(reference, tmp_path, change, feature):
    result = drift(reference, write_version(tmp_path / "b", columns(1, **change), CLASSES), OPTIONS)
    found = {f["name"] for f in result["features"] if f["drifted"]}
    assert result["drifted"] and result["score"] >= 1 and feature in found
    assert all(name.split()[0].split("[")[0] == feature.split()[0].split("[")[0] for name in found), found


def test_a_column_in_other_units_is_seen_beside_one_in_thousands(reference, tmp_path):
    moved = columns(1)
    moved["table"][:, 2] += 1e-3
    found = {f["name"] for f in drift(reference, write_version(tmp_path / "b", moved, CLASSES), OPTIONS)["features"] if f["drifted"]}
    assert found == {"table[2]", "table rows"}


def test_what_is_significant_but_small_is_no_drift_nor_what_is_large_by_chance(tmp_path):
    generator = np.random.default_rng(0)
    many = [generator.normal(moved, size=4000).astype(np.float32) for moved in (0.0, 0.1)]
    first, second = (write_version(tmp_path / str(i), {"price": values}) for i, values in enumerate(many))
    small = drift(first, second, DriftSpec(rows=4000))
    assert small["features"][1]["adjusted_p_value"] < 5e-3 and not small["drifted"]
    few = [np.arange(20, dtype=np.float32), np.arange(20, dtype=np.float32) * 1.5]
    first, second = (write_version(tmp_path / f"few{i}", {"price": values}) for i, values in enumerate(few))
    by_chance = drift(first, second, DriftSpec())
    assert by_chance["features"][1]["value"] > DriftSpec().ks and not by_chance["drifted"]


def test_another_column_is_a_drift_by_itself(reference, tmp_path):
    other = columns(0)
    other["extra"] = other.pop("price")
    result = drift(reference, write_version(tmp_path / "b", other, CLASSES), OPTIONS)
    assert [(f["name"], f["measure"]) for f in result["features"] if f["drifted"]] == [("extra", "schema"), ("price", "schema")]


def test_a_models_view_is_compared_too(reference, tmp_path):
    newest = write_version(tmp_path / "b", columns(1, brightness=25.0), CLASSES)
    weights = torch.ones(3, requires_grad=True)
    result = drift(reference, newest, OPTIONS, embed=lambda batch: torch.nn.Flatten()(weights * batch["inputs"].float().mean(dim=(2, 3))))
    assert {f["name"]: f["drifted"] for f in result["features"]}["embedding rows"]


def test_the_command_prints_the_table_and_mistakes_are_told(reference, tmp_path, capsys):
    newest = write_version(tmp_path / "b", columns(1, brightness=25.0), CLASSES)
    assert main([str(reference), str(newest), "rows=200", "mmd_rows=100"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[1].endswith("drifted") and "drifted in" in out[-1] and str(drift(reference, newest, OPTIONS)["newest"][:12]) in out[-1]
    assert main([str(reference), str(reference)]) == 0 and "the same data version" in capsys.readouterr().out
    assert main([str(reference), str(newest), "rwos=3"]) == 2 and "did you mean 'drift.rows'" in capsys.readouterr().err
    with pytest.raises(UserError, match="no split 'test'"):
        drift(reference, newest, parse(DriftSpec, {"split": "test"}, "drift"))
