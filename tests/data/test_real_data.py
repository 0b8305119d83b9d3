"""MNIST and Fashion-MNIST from the offline mirror: facts that were published, or measured when this was written."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from components.data.checks import check
from components.data.dataset import ShardDataset
from components.data.fetch import fetch
from components.data.params import read_yaml
from components.data.prepare import prepare
from components.spec.parse import parse_data
from components.spec.schema import CheckSpec

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Prepare a set once: name, mirror -> (raw, prepared)."""
    folder = tmp_path_factory.mktemp("real")

    def make(name, mirror):
        if not (folder / name).exists():
            definition = parse_data(read_yaml(ROOT / "conf" / "data" / f"{name}.yaml"))
            fetch(definition.fetch, folder / f"{name}-raw", mirror)
            prepare(definition, folder / f"{name}-raw", folder / name)
        return folder / f"{name}-raw", folder / name

    return make


def test_mnist_is_mnist(prepared, mirror):
    raw, directory = prepared("mnist", mirror)
    assert hashlib.md5((raw / "train-images-idx3-ubyte").read_bytes()).hexdigest() == "6bbc9ace898e44ae57da46a324031adb"
    splits = {split: ShardDataset(directory, split) for split in ("train", "validation", "test")}
    assert {split: dataset.rows for split, dataset in splits.items()} == {"train": 55_000, "validation": 5_000, "test": 10_000}
    test = splits["test"].fetch(np.arange(10_000))
    assert np.bincount(test["targets"]).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]  # LeCun's page
    together = sum(np.bincount(splits[s].fetch(np.arange(splits[s].rows))["targets"]) for s in ("train", "validation"))
    assert together.tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    statistics = splits["train"].card.statistics["inputs"]
    # .13066 and .30811 are published for all 60,000 rows; 55,000 of them differ in the fourth digit.
    assert statistics.mean[0] / 255 == pytest.approx(0.13066, rel=2e-3)
    assert statistics.std[0] / 255 == pytest.approx(0.30811, rel=1e-3)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_the_real_sets_pass_every_check_without_a_warning(prepared, mirror, name, tmp_path):
    result = check(prepared(name, mirror)[1], CheckSpec(), tmp_path)
    assert [finding for finding in result["checks"] if not finding["passed"]] == []
    assert json.loads((tmp_path / "check.json").read_text()) == result


def test_fashion_mnist_is_balanced(prepared, mirror, tmp_path):
    result = check(prepared("fashion_mnist", mirror)[1], CheckSpec(), tmp_path)
    assert result["classes"]["targets"] == {"train": [5500] * 10, "validation": [500] * 10, "test": [1000] * 10}


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_the_committed_lock_names_this_very_data(prepared, mirror, name):
    """DVC's hash of a directory is the md5 of its JSON listing of file md5s, names in order."""
    directory = prepared(name, mirror)[1]
    listing = [{"md5": hashlib.md5(p.read_bytes()).hexdigest(), "relpath": p.name} for p in sorted(directory.iterdir())]
    lock = yaml.safe_load((ROOT / "dvc.lock").read_text())
    (out,) = lock["stages"][f"prepare@{name}"]["outs"]
    assert out["md5"] == hashlib.md5(json.dumps(listing, sort_keys=True).encode()).hexdigest() + ".dir"
