"""An ensemble's members: each as if it had been trained alone, and none trained twice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from components.data.permutation import with_replacement
from components.errors import Interrupted
from components.spec.parse import parse_spec, to_plain
from components.training.checkpoint import Checkpoints
from components.training.fit import train
from components.training.notices import Notice
from components.training.session import LocalSession
from flows.compose import compose
from tests.training.conftest import ROOT, ROWS, write_stripes


@dataclass
class Leaves(LocalSession):
    """Is asked to leave after some steps."""

    left: int = 10**9

    def notice(self) -> Notice:
        self.left -= 1
        return Notice.STOP if self.left < 0 else Notice.NONE


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_stripes(tmp_path_factory.mktemp("data") / "stripes", ROWS, seed=11)


def config(data, directory, *overrides, experiment="ensemble/deep_ensemble"):
    common = [f"experiment={experiment}", "debug=inline", "trainer.batch_size=8", "trainer.duration=3st", "trainer.validate_every=3st"]
    spec = to_plain(compose(ROOT, [*common, "watch.every_steps=0", "trainer.log_every_steps=1", *overrides]))
    options = spec["model"]["member"] if "member" in spec["model"] else spec["model"]
    options["num_classes"] = 3
    return {"spec": to_plain(parse_spec(spec)), "data": str(data), "directory": str(directory)}


def weights(directory: Path):
    path = Checkpoints(directory / "checkpoints").path("best")
    assert path is not None
    return load_file(path / "model.safetensors")


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    directory = tmp_path_factory.mktemp("whole")
    return directory, train(LocalSession(), config(data, directory, "model.count=2"))


def test_a_member_is_its_model_trained_alone_with_its_seed(whole, data, tmp_path):
    directory, summary = whole
    alone = config(data, tmp_path, "seed=1", "data=fashion_mnist", "trainer.monitor.metric=validation/accuracy", "trainer.monitor.mode=max",
                   experiment="cnn/lenet5")  # fmt: skip
    train(LocalSession(), alone)
    ensemble = weights(directory)
    for name, value in weights(tmp_path).items():
        assert torch.equal(ensemble[f"members.1.{name}"], value), name
    assert not torch.equal(ensemble["members.0.features.0.weight"], ensemble["members.1.features.0.weight"])
    assert ensemble["missed"].tolist() == [0.0, 0.0]
    assert summary["steps"] == 2 and summary["best"]["metric"] == "validation/accuracy"


def test_an_interrupted_ensemble_goes_on_where_it_was(whole, data, tmp_path):
    with pytest.raises(Interrupted):
        train(Leaves(left=4), config(data, tmp_path, "model.count=2"))
    first = tmp_path / "members" / "0" / "metrics.jsonl"
    written = first.stat().st_mtime_ns, first.read_bytes().count(b'"kind": "step"')
    train(LocalSession(), config(data, tmp_path, "model.count=2"))
    for name, value in weights(whole[0]).items():
        assert torch.equal(weights(tmp_path)[name], value), name
    assert first.read_bytes().count(b'"kind": "step"') == written[1] == 3  # member 0 made no further step


def test_bagging_gives_each_member_rows_of_its_own(whole, data, tmp_path):
    train(LocalSession(), config(data, tmp_path, "model.count=2", "trainer.order=resampled"))
    found = weights(tmp_path)
    expected = [1 - len(np.unique(with_replacement(ROWS["train"], seed))) / ROWS["train"] for seed in (0, 1)]
    assert found["missed"].tolist() == pytest.approx(expected) and expected[0] != expected[1]
    assert not torch.equal(found["members.0.classifier.1.weight"], weights(whole[0])["members.0.classifier.1.weight"])
