"""The same worker function in this process, under torchrun (two gloo ranks) and under Ray Train (two workers): the same
losses and weights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.data.card import Column
from components.data.columns import SourceData
from components.data.prepare import write_data_set
from components.files import read_json
from components.spec.parse import parse
from components.spec.schema import ClusterSpec
from components.training import journal
from components.training.jobs import JOBS
from components.training.session import LocalSession
from flows.adapters.ray import RayWorkers
from tests.synthetic import synthetic_definition
from tests.training import systems
from tests.training.test_loop import assert_same_weights

ROOT = Path(__file__).parents[2]
STEPS = 20
NAMES = ("images, augmented", "tokens, with dropout")


@pytest.fixture(scope="module")
def tokens(tmp_path_factory) -> Path:
    """Windows of 17 letters of an alphabet of 11, each letter the sum of the two before it, with noise."""
    rng = np.random.default_rng(3)
    splits = {}
    for name, rows in (("train", 45), ("validation", 12), ("test", 12)):
        windows = rng.integers(0, 11, (rows, 17))
        for t in range(2, 17):
            windows[:, t] = np.where(rng.random(rows) < 0.9, (windows[:, t - 1] + windows[:, t - 2]) % 11, windows[:, t])
        splits[name] = {"tokens": windows}
    columns = {"tokens": Column("int64", (17,), classes=tuple("abcdefghijk"))}
    directory = tmp_path_factory.mktemp("tokens") / "letters"
    write_data_set(synthetic_definition("letters", num_classes=11), SourceData(columns, splits), {}, directory)
    return directory


@pytest.fixture(scope="module")
def configs(plain, data, tokens) -> dict[str, dict[str, Any]]:
    """Two systems: LeNet-5 on shifted images, and a GPT whose dropout is ours; batches of 8, two micro-batches, clipping, an average."""
    common = (f"trainer.duration={STEPS}st", "trainer.accumulate=2", "trainer.clip_norm=1.0", "trainer.ema_decay=0.9", "optimizer.lr=0.02")
    images = plain(*common)
    images["augment"]["always"].append({"_target_": "components.data.transforms.Resize", "size": 32})
    letters = plain(*common, "trainer.monitor.metric=validation/nats_per_token")
    model = {"_target_": "components.models.language.gpt.GPT", "vocab_size": 11, "context_tokens": 16}
    letters["model"] = {**model, "layers": 2, "heads": 2, "hidden_dim": 16, "dropout": 0.2}
    letters["task"] = {"_target_": "components.tasks.next_token.NextToken"}
    letters["augment"] = {"always": [], "train": []}
    return dict(zip(NAMES, ({"spec": images, "data": str(data)}, {"spec": letters, "data": str(tokens)}), strict=True))


@pytest.fixture(scope="module")
def inline(configs, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("inline")
    for i, name in enumerate(NAMES):
        JOBS["train"](LocalSession(), {**configs[name], "directory": str(folder / str(i))})
    return {name: folder / str(i) for i, name in enumerate(NAMES)}


def assert_same_training(found: Path, expected: Path) -> None:
    losses = [[r["loss"] for r in journal.read(d / "metrics.jsonl") if r["kind"] == "step"] for d in (found, expected)]
    assert len(losses[1]) == STEPS
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    for file in ("model.safetensors", "ema.safetensors"):
        weights = [systems.weights_of(d / "checkpoints" / f"step_{STEPS:08d}" / file) for d in (found, expected)]
        assert_same_weights(*weights, 1e-6)


def test_under_torchrun(configs, inline, tmp_path):
    """Both in one group, as it takes one job after the other."""
    for i, name in enumerate(NAMES):
        letter = {"job": "train", "config": {**configs[name], "directory": str(tmp_path / str(i))}}
        (tmp_path / f"{i}.json").write_text(json.dumps(letter))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "components.training"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    jobs = [str(tmp_path / f"{i}.json") for i in range(len(NAMES))]
    done = subprocess.run([*command, *jobs], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    for i, name in enumerate(NAMES):
        assert read_json(tmp_path / str(i) / "summary.json")["workers"] == 2
        assert_same_training(tmp_path / str(i), inline[name])


def test_under_ray_train(configs, inline, tmp_path):
    cluster = parse(ClusterSpec, {"backend": "ray", "workers": 2}, "cluster")
    group = RayWorkers(cluster, tmp_path / "mailboxes")
    try:
        for i, (name, loader) in enumerate(zip(NAMES, ("shards", "ray_data"), strict=True)):
            config = {**configs[name], "spec": {**configs[name]["spec"], "performance": {"loader": loader}}}
            group.submit("train", {**config, "directory": str(tmp_path / str(i))})
            assert read_json(tmp_path / str(i) / "summary.json")["workers"] == 2
            assert_same_training(tmp_path / str(i), inline[name])
    finally:
        group.close()
